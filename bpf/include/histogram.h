// SPDX-License-Identifier: GPL-2.0
/* How a tracker sorts values by their size in the kernel.
 *
 * Before including this, a tracker defines
 *
 *	struct histogram_key { struct tallied who; … };	no padding but by a member `pad`
 *	enum { MAX_HISTOGRAMS = … };			unless the agent says otherwise
 *
 * and for each value of an event that matched: histogram_add(&match, &key, value).
 */
#pragma once

#include "tally.h"

enum { HISTOGRAM_SLOTS = 40 };

struct histogram {
	u64 count;
	u64 sum;
	log2_t slots[HISTOGRAM_SLOTS];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HISTOGRAMS);
	__type(key, struct histogram_key);
	__type(value, struct histogram);
} histogram SEC(".maps");

/* A histogram is too large for the stack. This one is never written to. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct histogram);
} empty_histogram SEC(".maps");

/* Position of the highest bit that is set; 0 for 0. Free of branches: see lowest_bit. */
static __always_inline u32 log2_of(u64 value)
{
	u32 shift, result;

	result = (value > 0xffffffffull) << 5;
	value >>= result;
	shift = (value > 0xffff) << 4;
	value >>= shift;
	result |= shift;
	shift = (value > 0xff) << 3;
	value >>= shift;
	result |= shift;
	shift = (value > 0xf) << 2;
	value >>= shift;
	result |= shift;
	shift = (value > 0x3) << 1;
	value >>= shift;
	result |= shift;
	return result | value >> 1;
}

static __always_inline void histogram_add(const struct match *match, struct histogram_key *key,
					  u64 value)
{
	u32 zero = 0;

	if (!tally_begin(match, &key->who))
		return;
	struct histogram *found = bpf_map_lookup_elem(&histogram, key);

	if (!found) {
		struct histogram *empty = bpf_map_lookup_elem(&empty_histogram, &zero);

		if (empty)
			bpf_map_update_elem(&histogram, key, empty, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&histogram, key);
	}
	if (!found) {
		tally_lose(match);
		return;
	}
	u64 slot = log2_of(value);

	/* Linux 6.1 has to see a bound on all 64 bits of what is used as an index. */
	barrier_var(slot);
	if (slot >= HISTOGRAM_SLOTS)
		slot = HISTOGRAM_SLOTS - 1;
	__sync_fetch_and_add(&found->count, 1);
	__sync_fetch_and_add(&found->sum, value);
	__sync_fetch_and_add(&found->slots[slot], 1);
}
