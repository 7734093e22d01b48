// SPDX-License-Identifier: GPL-2.0
/* Who began a process: its parent, and those before it.
 *
 *	#include "ancestors.h"
 *	struct event {
 *		struct subject who;
 *		…
 *		ANCESTOR_COLUMNS;
 *	};
 *	enum { EVENT_TAIL = … + ANCESTORS_TAIL };
 *	#include "event_ancestors.h"			instead of events.h
 *	…
 *	event_ancestors(event);				of the current task
 *	event_ancestors_of(event, &owner);		of whoever that is
 *	return event_send(&match);
 *
 * Ancestors are those of now: what a process leaves behind when it ends is its reaper's.
 */
#pragma once

#include "eunomia.h"

enum { MAX_ANCESTORS = 6, ANCESTORS_TAIL = MAX_ANCESTORS * TASK_COMM_LEN };

/* ancestors: the names of the parent, its parent and so on; ancestor_pids: 0 behind the last one. */
#define ANCESTOR_COLUMNS  \
	args_t ancestors; \
	tgid_t ancestor_pids[MAX_ANCESTORS]

/* The first pid namespace, where each process has its first number. NULL: the current task is one that
 * was waited for already, and nothing but its last moments are left. */
static __always_inline struct pid_namespace *first_pid_namespace(void)
{
	return bpf_get_current_task_btf()->thread_pid->numbers[0].ns;
}

/* The first process of that, whose namespaces are the host's. */
static __always_inline struct task_struct *host_task(void)
{
	return first_pid_namespace()->child_reaper;
}
