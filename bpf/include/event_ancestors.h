// SPDX-License-Identifier: GPL-2.0
/* Fills the columns of ancestors.h, which tells how. */
#pragma once

#include "ancestors.h"
#include "events.h"
#include "task.h"

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

/* known: the verifier knows it for a task, so that loads are plain on any kernel. */
static __always_inline const struct task_struct *parent_of(const struct task_struct *task, bool known)
{
	if (known)
		return task->real_parent->group_leader;
	task = READ(struct task_struct, task, real_parent);
	return READ(struct task_struct, task, group_leader);
}

static __always_inline void no_ancestors(struct event *event)
{
	event->ancestors = 0;
	__builtin_memset(event->ancestor_pids, 0, sizeof(event->ancestor_pids));
}

static __always_inline void add_ancestors(struct event *event, const struct task_struct *task,
					  bool known)
{
	struct scratch *slot = this_scratch();
	u32 length = 0;

	if (!slot)
		return;
	u32 offset = sizeof(struct event) + slot->tail_used;

#pragma unroll
	for (u32 i = 0; i < MAX_ANCESTORS; i++) {
		task = parent_of(task, known);
		tgid_t tgid = known ? task->tgid : READ(struct task_struct, task, tgid);

		if (!tgid)
			break;
		event->ancestor_pids[i] = tgid;
		length += tail_add_comm(slot, task->comm);
	}
	event->ancestors = length ? length << 16 | offset : 0;
}

/* Of the current task. The functions marked weak are global ones: see lose_for_first in match.h. */
__weak int event_ancestors(struct event *event)
{
	if (!event)
		return 0;
	no_ancestors(event);
	add_ancestors(event, bpf_get_current_task_btf(), true);
	return 0;
}

/* Of a process that need not be the current one; none once that is gone. */
__weak int event_ancestors_of(struct event *event, const struct owner *owner)
{
	const struct task_struct *current = bpf_get_current_task_btf();

	if (!event || !owner)
		return 0;
	no_ancestors(event);
	if (!owner->pid)
		return 0;
	if (owner->pid == current->tgid &&
	    owner->start_time == current->group_leader->start_boottime) {
		add_ancestors(event, current, true);
		return 0;
	}
	const struct pid *pid = find_pid(first_pid_namespace(), owner->pid);
	const struct task_struct *task = pid ? task_of_pid(pid) : NULL;

	if (task && READ(struct task_struct, task, start_boottime) == owner->start_time)
		add_ancestors(event, task, false);
	return 0;
}
