// SPDX-License-Identifier: GPL-2.0
/* How a tracker counts in the kernel, by a key of its own.
 *
 * Before including this, a tracker defines
 *
 *	struct count_key { struct tallied who; … };	no padding but by a member `pad`
 *	struct count_value { u64 count; … };		members to add to, or set once
 *	enum { MAX_COUNTS = … };			unless the agent says otherwise
 *
 * and for each event that matched and passed its own conditions:
 *
 *	struct count_key key = {.pid = pid};
 *	struct count_value *value = count_find(&match, &key);
 *	if (!value) {
 *		struct count_value fresh = {};
 *		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
 *		value = count_open(&match, &key, &fresh);
 *		if (!value)			no room: lost, and counted as such
 *			return 0;
 *	}
 *	count_one(value);			once an event: it counts as matched
 *	__sync_fetch_and_add(&value->bytes, bytes);
 */
#pragma once

#include "tally.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_COUNTS);
	__type(key, struct count_key);
	__type(value, struct count_value);
} counts SEC(".maps");

static __always_inline struct count_value *count_find(const struct match *match,
						      struct count_key *key)
{
	if (!tally_begin(match, &key->who))
		return NULL;
	return bpf_map_lookup_elem(&counts, key);
}

static __always_inline struct count_value *count_open(const struct match *match,
						      const struct count_key *key,
						      const struct count_value *fresh)
{
	if (match->state == target_refused)
		return NULL;
	bpf_map_update_elem(&counts, key, fresh, BPF_NOEXIST);
	struct count_value *value = bpf_map_lookup_elem(&counts, key);

	if (!value)
		tally_lose(match);
	return value;
}

static __always_inline void count_one(struct count_value *value)
{
	__sync_fetch_and_add(&value->count, 1);
}
