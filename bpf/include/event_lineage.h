// SPDX-License-Identifier: GPL-2.0
/* Fills the columns of lineage.h, which tells how. */
#pragma once

#include "events.h"
#include "lineage.h"

/* What path_find has put together, as a string of the event. The functions marked weak are global
 * ones: see lose_for_first in match.h. */
__weak path_t event_found_path(u32 start)
{
	struct path_walk *walk = this_walk();

	return walk ? event_kernel_string(&walk->text[start & (FILE_PATH - 1)], FILE_PATH) : 0;
}

static __always_inline path_t event_path(const struct vfsmount *mount, const struct dentry *dentry)
{
	return dentry ? event_found_path(path_find(mount, dentry)) : 0;
}

/* NULL: "". */
static __always_inline path_t event_file_path(const struct file *file)
{
	return file ? event_path(READ(struct file, file, f_path.mnt),
				 READ(struct file, file, f_path.dentry))
		    : 0;
}

static __always_inline path_t event_exe(struct task_struct *task)
{
	return event_file_path(task->mm ? task->mm->exe_file : NULL);
}

/* Adds a name and its NUL to the tail, and says how long that is; 0: there is no room. */
static __always_inline u32 tail_add_comm(struct scratch *slot, const void *comm)
{
	u8 *to = tail_free(slot, TASK_COMM_LEN);
	s64 length = to ? bpf_probe_read_kernel_str(to, TASK_COMM_LEN, comm) : 0;

	if (length <= 0 || length > TASK_COMM_LEN)
		return 0;
	slot->tail_used += length;
	return length;
}

/* Fills the columns but `exe`. */
__weak int event_ancestors(struct event *event)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct scratch *slot = this_scratch();
	u32 length = 0;

	if (!event || !slot)
		return 0;
	u32 offset = sizeof(struct event) + slot->tail_used;

	event->ppid = task->real_parent->tgid;
	__builtin_memset(event->ancestor_pids, 0, sizeof(event->ancestor_pids));
#pragma unroll
	for (u32 i = 0; i < MAX_ANCESTORS; i++) {
		task = task->real_parent->group_leader;
		if (!task->tgid)
			break;
		event->ancestor_pids[i] = task->tgid;
		length += tail_add_comm(slot, task->comm);
	}
	event->ancestors = length ? length << 16 | offset : 0;
	return 0;
}

/* Of the current task. */
static __always_inline void event_lineage(struct event *event)
{
	event->exe = event_exe(bpf_get_current_task_btf());
	event_ancestors(event);
}
