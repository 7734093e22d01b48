// SPDX-License-Identifier: GPL-2.0
/* What counts.h, histogram.h and stacks.h share: tables that the kernel adds up, and that the agent
 * reads and empties once an interval.
 *
 * A key begins with the cgroup and the interval that it counts for. The agent makes a new interval
 * begin, waits until no program can still be adding to the old one, reads that one, and takes it
 * out: no count is read twice or missed, and the table holds no more than what an interval saw.
 */
#pragma once

#include "match.h"

struct tallied {
	cgroup_id_t cgroup_id;
	u32 epoch;
	u32 pad;
};

/* Written by the agent alone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} epoch SEC(".maps");

/* Fills the first member of a key. False: the event is only counted as unclassified. */
static __always_inline bool tally_begin(const struct match *match, struct tallied *who)
{
	u32 zero = 0;
	u32 *now = bpf_map_lookup_elem(&epoch, &zero);

	if (match->state == target_refused) {
		count_unclassified();
		return false;
	}
	who->cgroup_id = match->cgroup_id;
	who->epoch = now ? *now : 0;
	who->pad = 0;
	return true;
}

/* There is no room for another key. */
static __always_inline void tally_lose(const struct match *match)
{
	lose_for_jobs(match->cgroup_id, match->jobs, 1);
}
