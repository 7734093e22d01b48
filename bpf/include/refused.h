// SPDX-License-Identifier: GPL-2.0
/* Calls that a rule has refused. Programs that see only the end of calls tell by this, of one that failed
 * with EPERM, whether another instance has refused it and tells of that itself.
 */
#pragma once

#include "call.h"

enum { EPERM = 1 }; /* include/uapi/asm-generic/errno-base.h */

/* The last one of each thread, by its number. Shared by all instances of a node. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, s32);
	__type(value, s32);
} refused_calls SEC(".maps");

static __always_inline void note_refused_call(void)
{
	s32 *last = bpf_task_storage_get(&refused_calls, bpf_get_current_task_btf(), NULL,
					 BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (last)
		*last = current_call();
}

/* Of the current call, which has failed. Nothing but a call after one that was refused, of the same thread
 * and number, can be taken for one that was. */
static __always_inline bool is_refused_call(u32 error)
{
	if (error != EPERM)
		return false;
	s32 *last = bpf_task_storage_get(&refused_calls, bpf_get_current_task_btf(), NULL, 0);

	return last && *last == current_call();
}
