// SPDX-License-Identifier: GPL-2.0
/* Whose doing an event is: the program that the process runs, and its ancestors.
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
 */
#pragma once

#include "ancestors.h"
#include "file.h"

enum { LINEAGE_TAIL = FILE_PATH + ANCESTORS_TAIL };

/* exe: the path of what the process runs, as it sees it itself; "" for a thread of the kernel. */
#define LINEAGE_COLUMNS \
	tgid_t ppid;    \
	path_t exe;     \
	ANCESTOR_COLUMNS
