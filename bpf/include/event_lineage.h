// SPDX-License-Identifier: GPL-2.0
/* Fills the columns of lineage.h, which tells how. */
#pragma once

#include "event_ancestors.h"
#include "lineage.h"

/* What path_find has put together, as a string of the event. Global: see lose_for_first
 * in match.h. */
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

/* Of the current task. */
static __always_inline void event_lineage(struct event *event)
{
	struct task_struct *task = bpf_get_current_task_btf();

	event->ppid = task->real_parent->tgid;
	event->exe = event_exe(task);
	event_ancestors(event);
}
