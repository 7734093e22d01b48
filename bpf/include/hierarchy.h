// SPDX-License-Identifier: GPL-2.0
/* The hierarchy of cgroups in which all are looked up. */
#pragma once

#include "eunomia.h"

/* Its number as in /proc/PID/cgroup: 0 is v2; another one is that of the v1 pids controller, on
 * hosts where v2 is not in use and all are in its root. Set by the agent. */
const volatile u32 cgroup_hierarchy = 0;

static __always_inline struct cgroup *task_cgroup(struct task_struct *task)
{
	struct css_set *set = task->cgroups;

	if (!cgroup_hierarchy)
		return set->dfl_cgrp;
	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return NULL;
	u32 pids = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id);
	struct cgroup_subsys_state *state = NULL;

	bpf_probe_read_kernel(&state, sizeof(state), &set->subsys[pids]);
	return BPF_CORE_READ(state, cgroup);
}

static __always_inline u64 task_cgroup_id(struct task_struct *task)
{
	return cgroup_hierarchy ? BPF_CORE_READ(task_cgroup(task), kn, id)
				: task_cgroup(task)->kn->id;
}

static __always_inline u64 current_cgroup_id(void)
{
	return cgroup_hierarchy ? task_cgroup_id(bpf_get_current_task_btf())
				: bpf_get_current_cgroup_id();
}
