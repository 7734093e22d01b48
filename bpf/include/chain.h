// SPDX-License-Identifier: GPL-2.0
/* Programs of several trackers at one hook, each run by the one before it.
 *
 *	const volatile u8 chained_calls[CHAINED_CALLS] = {[__NR_…] = true, …};
 *
 *	SEC("tp_btf/sys_exit")
 *	int BPF_PROG(call_ends, struct pt_regs *regs, …)
 *	{
 *		…						in a function of its own
 *		return chain_go_on(ctx, call_number(regs));
 *	}
 *
 * At a hook that all of a node passes, being called by the kernel costs a program more than turning
 * away what is not for it; being jumped to by another costs next to nothing. The first of a chain is
 * the agent's own (calls.bpf.c). A program that the agent has given no place is attached by itself.
 *
 * Only those are jumped to that want a call of this number, by what is not 0 in chained_calls, or in
 * chained_calls_PARAM while that param is true. A program without such a table wants all calls.
 */
#pragma once

#include "call.h"

/* The most jumps behind one another: MAX_TAIL_CALL_CNT of include/linux/bpf.h, less one. */
enum { MAX_CHAINED = 32 };
/* Above the highest number of a call; the last of them stands for what has none. */
enum { CHAINED_CALLS = 512 };

/* By place. 0 is that of the first, which nobody jumps to; as the next one it says that there is none.
 * Who is attached by itself has a place that is none. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MAX_CHAINED + 1);
	__type(key, u32);
	__type(value, u32);
} chained SEC(".maps");
/* By the place of who is left, and the call's number. */
struct chained_next {
	u8 of[CHAINED_CALLS];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CHAINED + 1);
	__type(key, u32);
	__type(value, struct chained_next);
} chained_next SEC(".maps");

/* The object's own place, written by the agent before it is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} chain_place SEC(".maps");

/* Where a call stands in a table of that size. */
static __always_inline u32 chained_call(s32 number)
{
	u32 at = number;

	if (at >= CHAINED_CALLS)
		at = CHAINED_CALLS - 1;
	barrier_var(at);
	return at & (CHAINED_CALLS - 1);
}

static __always_inline int chain_go_on(void *ctx, s32 number)
{
	u32 zero = 0;
	u32 *place = bpf_map_lookup_elem(&chain_place, &zero);
	struct chained_next *next = place ? bpf_map_lookup_elem(&chained_next, place) : NULL;
	u32 found = next ? next->of[chained_call(number)] : 0;

	if (found)
		bpf_tail_call(ctx, &chained, found);
	return 0;
}
