// SPDX-License-Identifier: GPL-2.0
/* How a tracker counts by the stack that led to an event.
 *
 * Before including this, a tracker defines
 *
 *	struct stack_key { struct tallied who; …; kernel_stack_t kernel_stack; user_stack_t user_stack; };
 *	enum { MAX_STACKS = … };			unless the agent says otherwise
 *
 * and for each event that matched: stack_add(context, &match, &key), which sets both stacks.
 */
#pragma once

#include "tally.h"

enum { STACK_DEPTH = 127 };

struct stack_value {
	u64 count;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STACKS);
	__type(key, struct stack_key);
	__type(value, struct stack_value);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, MAX_STACKS);
	__uint(key_size, sizeof(u32));
	__uint(value_size, STACK_DEPTH * sizeof(u64));
} stack_traces SEC(".maps");

static __always_inline void stack_add(void *context, const struct match *match,
				      struct stack_key *key)
{
	if (!tally_begin(match, &key->who))
		return;
	key->kernel_stack = bpf_get_stackid(context, &stack_traces, 0);
	key->user_stack = bpf_get_stackid(context, &stack_traces, BPF_F_USER_STACK);
	struct stack_value *found = bpf_map_lookup_elem(&stacks, key);

	if (!found) {
		struct stack_value empty = {};

		bpf_map_update_elem(&stacks, key, &empty, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&stacks, key);
	}
	if (found)
		__sync_fetch_and_add(&found->count, 1);
	else
		tally_lose(match);
}
