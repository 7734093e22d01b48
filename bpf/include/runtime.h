// SPDX-License-Identifier: GPL-2.0
/* Whether a process is of a container's runtime: somebody outside of the container put it, or who forked
 * it, into the container's cgroup, and it has begun no program there since. Neither names, files nor
 * namespaces count, all of which a container may come by; and whoever could leave its cgroup, so as to
 * come back as a runtime, is nobody's out there.
 *
 * The programs that note it are the agent's own, see cgroups.bpf.c, and there before any tracker is.
 */
#pragma once

#include "eunomia.h"

/* By the first thread of a process: CLOCK_BOOTTIME ns up to which it is of a runtime at most. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, s32);
	__type(value, boot_ns_t);
} runtimes SEC(".maps");

/* What a runtime execs is a sealed copy of itself, as of runc, where it still has the mounts of who began
 * it; the container's program has others. */
static __always_inline bool has_mounts_of_parent(const struct task_struct *task)
{
	return task->nsproxy->mnt_ns == task->real_parent->nsproxy->mnt_ns;
}

/* Global: see lose_for_first in match.h. */
__weak int is_runtime(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	boot_ns_t *until = bpf_task_storage_get(&runtimes, task->group_leader, NULL, 0);

	return until && bpf_ktime_get_boot_ns() < *until;
}
