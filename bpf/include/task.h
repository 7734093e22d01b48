// SPDX-License-Identifier: GPL-2.0
/* Other tasks than the current one: those that a call names. */
#pragma once

#include "hierarchy.h"
#include "namespace.h"

/* The process id that a number is in a pid namespace, as lib/idr.c and lib/xarray.c find it; NULL: there
 * is none. A node has 64 entries, and an id at most 22 bits. */
static __always_inline const struct pid *find_pid(const struct pid_namespace *namespace, u32 number)
{
	enum { NODE_BITS = 6, NODE_ENTRIES = 1 << NODE_BITS, MAX_DEPTH = 4, IS_NODE = 2 };
	u64 entry = 0; /* a number: pointers take no arithmetic on bits */

	BPF_CORE_READ_INTO(&entry, namespace, idr.idr_rt.xa_head);
	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		if ((entry & 3) != IS_NODE)
			return NULL;
		const void *node = (const void *)(entry - IS_NODE);
		u32 shift = READ(struct xa_node, node, shift) & 31;
		u32 index = number >> shift;

		if (!depth && index >= NODE_ENTRIES)
			return NULL;
		node += bpf_core_field_offset(struct xa_node, slots);
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      node + (index % NODE_ENTRIES) * sizeof(void *));
		if (!shift)
			return (const struct pid *)entry;
	}
	return NULL;
}

/* The thread of that id, the first one of a process; NULL: it is gone. */
static __always_inline const struct task_struct *task_of_pid(const struct pid *pid)
{
	const void *node = READ(struct pid, pid, tasks[PIDTYPE_PID].first);

	return node ? node - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_PID]) : NULL;
}

/* As task_cgroup_id, of any task. */
static __always_inline u64 cgroup_id_of(const struct task_struct *task)
{
	const struct css_set *set = READ(struct task_struct, task, cgroups);
	const struct cgroup *cgroup;

	if (!cgroup_hierarchy) {
		cgroup = READ(struct css_set, set, dfl_cgrp);
	} else {
		if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
			return 0;
		u32 pids = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id);
		const struct cgroup_subsys_state *state = read_pointer(
			(const void *)set + bpf_core_field_offset(struct css_set, subsys) +
			pids * sizeof(void *));

		cgroup = READ(struct cgroup_subsys_state, state, cgroup);
	}
	const struct kernfs_node *node = READ(struct cgroup, cgroup, kn);

	return READ(struct kernfs_node, node, id);
}
