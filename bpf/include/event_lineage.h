// SPDX-License-Identifier: GPL-2.0
/* Fills the columns of lineage.h, which tells how. */
#pragma once

#include "events.h"
#include "lineage.h"

/* A path, as path_find puts it together, as a string of the event. */
static __always_inline path_t event_path(const struct vfsmount *mount, const struct dentry *dentry)
{
	struct path_walk *walk = this_walk();

	if (!walk || !dentry)
		return 0;
	u32 start = path_find(mount, dentry);

	return event_kernel_string(&walk->text[start & (FILE_PATH - 1)], FILE_PATH);
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

static __always_inline args_t event_ancestors(tgid_t *pids, struct task_struct *task)
{
	struct scratch *slot = this_scratch();
	u32 length = 0;

	__builtin_memset(pids, 0, MAX_ANCESTORS * sizeof(*pids));
	if (!slot)
		return 0;
	u32 offset = sizeof(struct event) + slot->tail_used;

#pragma unroll
	for (u32 i = 0; i < MAX_ANCESTORS; i++) {
		task = task->real_parent->group_leader;
		if (!task->tgid)
			break;
		pids[i] = task->tgid;
		length += tail_add_comm(slot, task->comm);
	}
	return length ? length << 16 | offset : 0;
}

static __always_inline void event_lineage(struct event *event, struct task_struct *task)
{
	event->ppid = task->real_parent->tgid;
	event->exe = event_exe(task);
	event->ancestors = event_ancestors(event->ancestor_pids, task);
}
