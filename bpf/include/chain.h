// SPDX-License-Identifier: GPL-2.0
/* Programs of several trackers at one hook, each run by the one before it.
 *
 *	SEC("tp_btf/sys_exit")
 *	int BPF_PROG(call_ends, …)
 *	{
 *		…						in a function of its own
 *		return chain_go_on(ctx);
 *	}
 *
 * At a hook that all of a node passes, being called by the kernel costs a program more than turning
 * away what is not for it; being jumped to by another costs next to nothing. The first of a chain is
 * the agent's own (calls.bpf.c). A program that the agent has given no place is attached by itself.
 */
#pragma once

#include "eunomia.h"

/* The most jumps behind one another: MAX_TAIL_CALL_CNT of include/linux/bpf.h, less one. */
enum { MAX_CHAINED = 32 };

/* By place. 0 is that of the first, which nobody jumps to; as the next one it says that there is none.
 * Who is attached by itself has a place that is none. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MAX_CHAINED + 1);
	__type(key, u32);
	__type(value, u32);
} chained SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CHAINED + 1);
	__type(key, u32);
	__type(value, u32);
} chained_next SEC(".maps");

/* The object's own place, written by the agent before it is attached. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} chain_place SEC(".maps");

static __always_inline int chain_go_on(void *ctx)
{
	u32 zero = 0;
	u32 *place = bpf_map_lookup_elem(&chain_place, &zero);
	u32 *next = place ? bpf_map_lookup_elem(&chained_next, place) : NULL;

	if (next && *next)
		bpf_tail_call(ctx, &chained, *next);
	return 0;
}
