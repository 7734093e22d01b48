// SPDX-License-Identifier: GPL-2.0
/* A system call at its end: when it began, and whose it is. */
#pragma once

#include "call.h"

/* A process that is forked ends a call that only its parent has begun. */
static __always_inline bool call_is_of_parent(s32 number, s64 result)
{
#if defined(__TARGET_ARCH_x86)
	enum { CLONE = 56, FORK = 57, VFORK = 58, CLONE3 = 435 };

	return !result && ((number >= CLONE && number <= VFORK) || number == CLONE3);
#else
	enum { CLONE = 220, CLONE3 = 435 };

	return !result && (number == CLONE || number == CLONE3);
#endif
}

/* ---- when it began: for trackers that hook tp_btf/sys_enter as well ---- */

struct call {
	u64 began; /* CLOCK_MONOTONIC ns; 0: not seen */
	s32 number;
	u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, s32);
	__type(value, struct call);
} calls SEC(".maps");

/* When the programs were attached, on the same clock: of what began before that, the end of another
 * call may be the next that is seen. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} attached_at SEC(".maps");

static __always_inline void call_begin(s32 number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call *call =
		bpf_task_storage_get(&calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!call)
		return;
	call->number = number;
	call->began = bpf_ktime_get_ns();
}

/* The current thread's call, which ends as this number. What does not begin here, since seccomp
 * refused it, has no time; what the kernel has no number for any more, the return from a signal
 * handler, has that of its beginning. */
static __always_inline struct call call_end(s32 number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call *found = bpf_task_storage_get(&calls, task, NULL, 0);
	struct call call = {.number = number};
	u32 zero = 0;
	u64 *since = bpf_map_lookup_elem(&attached_at, &zero);

	if (!found || !since)
		return call;
	if (found->began > *since && (number < 0 || found->number == number))
		call = *found;
	found->began = 0;
	return call;
}
