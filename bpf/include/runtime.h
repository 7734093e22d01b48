// SPDX-License-Identifier: GPL-2.0
/* Whether a process still runs what began in the host's mount namespace, as a container's runtime
 * does until it begins the container's own program. That is of no container's choosing: neither a
 * program's name nor what it is copied to makes it so, and forks keep it, until the next exec.
 *
 * What began before the tracker did is no runtime.
 */
#pragma once

#include "lineage.h"
#include "read.h"

/* By the address of the file that a process runs, which each exec opens anew and forks share; and its
 * inode, so that an address that is used again for something else says nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u64);
} runtimes SEC(".maps");

static __always_inline bool is_in_host_mounts(const struct task_struct *task)
{
	const struct task_struct *host = host_task();
	const struct nsproxy *its = READ(struct task_struct, task, nsproxy);
	const struct nsproxy *hosts = READ(struct task_struct, host, nsproxy);

	return READ(struct nsproxy, its, mnt_ns) == READ(struct nsproxy, hosts, mnt_ns);
}

SEC("raw_tp/sched_process_exec")
int runtime_begins(u64 *arguments)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct file *file = task->mm->exe_file;
	u64 address = (u64)file, inode = (u64)READ(struct file, file, f_inode);

	if (is_in_host_mounts(task))
		bpf_map_update_elem(&runtimes, &address, &inode, BPF_ANY);
	else
		bpf_map_delete_elem(&runtimes, &address);
	return 0;
}

/* Global: see lose_for_first in match.h. */
__weak int is_runtime(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!task->mm)
		return false;
	const struct file *file = task->mm->exe_file;
	u64 address = (u64)file;
	u64 *inode = bpf_map_lookup_elem(&runtimes, &address);

	return inode && *inode == (u64)READ(struct file, file, f_inode);
}
