// SPDX-License-Identifier: GPL-2.0
/* Whose doing an event is: the program that the process runs, its parent, and those before it.
 *
 *	#include "lineage.h"
 *	struct event {
 *		struct subject who;
 *		…
 *		LINEAGE_COLUMNS;
 *	};
 *	enum { EVENT_TAIL = … + LINEAGE_TAIL };
 *	#include "event_lineage.h"			instead of events.h
 *	…
 *	event->path = event_path(mount, dentry);	any path, into the tail
 *	event_lineage(event);				of the current task
 *	return event_send(&match);
 *
 * Ancestors are those of now: what a process leaves behind when it ends is its reaper's.
 */
#pragma once

#include "file.h"

enum { MAX_ANCESTORS = 6, LINEAGE_TAIL = FILE_PATH + MAX_ANCESTORS * TASK_COMM_LEN };

/* exe: the path of what the process runs, as it sees it itself; "" for a thread of the kernel.
 * ancestors: the names of the parent, its parent and so on; ancestor_pids: 0 behind the last one. */
#define LINEAGE_COLUMNS     \
	tgid_t ppid;        \
	path_t exe;         \
	args_t ancestors;   \
	tgid_t ancestor_pids[MAX_ANCESTORS]

/* The first process of the first pid namespace, whose namespaces are the host's. That namespace is
 * where each process has its first number. */
static __always_inline struct task_struct *host_task(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pid_namespace *first = task->thread_pid->numbers[0].ns;

	return first->child_reaper;
}
