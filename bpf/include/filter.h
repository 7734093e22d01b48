// SPDX-License-Identifier: GPL-2.0
/* All of a condition, asked of an event that is put together: for jobs that kill or deny, where the
 * ranges and paths of match.h and match_path.h do not say it all. Those are asked before, and leave few
 * events for this.
 *
 *	if (!event_admit_unfiltered(&match))	instead of event_admit
 *		return event_cancel();
 *	…					all columns are set
 *	return event_send_filtered(&match);	instead of event_send
 *
 * Each test is about one column and leads to two others, as in classic BPF
 * (Documentation/networking/filter.rst), or to an end: FILTER_PASSES, and anything else where there is no
 * test. trackers/filter.py writes them.
 */
#pragma once

#include "events.h"

/* Where anything of an event begins, so much more can be looked at. */
_Static_assert(EVENT_TAIL >= 64, "EVENT_TAIL is less than FILTER_TEXT");
enum { MAX_FILTER = 1024, FILTER_TEXT = 64, FILTER_PASSES = 0xffff };

enum filter_test {
	filter_number = 0, /* is from `least` on, and so many `above` it at most, modulo `mask` + 1 */
	filter_bits = 1,   /* has all bits of `mask` */
	filter_same = 2,   /* a string_t that is `text` */
	filter_begins = 3,
	filter_ends = 4,
	filter_holds = 5,  /* anywhere */
	filter_inline = 6, /* what is in the column itself begins with `text` */
	filter_second = 7, /* what follows its first NUL begins with `text` */
};

struct filter_step {
	u16 test; /* enum filter_test */
	u16 at;	  /* of the column, from the event's first byte */
	u16 yes, no;
	u64 least, above, mask;
	u32 length;
	char text[FILTER_TEXT];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct filter_step);
} where_filter SEC(".maps");

/* Set by the agent where there are any. */
const volatile bool filters = false;

/* Where something of the event is looked at: EVENT_TAIL more bytes are behind it. NULL: nowhere. */
static __always_inline const u8 *filter_at(u32 at)
{
	struct scratch *slot = this_scratch();

	barrier_var(at);
	if (!slot || at >= sizeof(struct event) + EVENT_TAIL)
		return NULL;
	return (const u8 *)&slot->event + at;
}

static __always_inline bool filter_is_at(const struct filter_step *step, const u8 *found)
{
	for (u32 i = 0; i < FILTER_TEXT; i++) {
		if (i >= step->length)
			return true;
		if (found[i] != (u8)step->text[i])
			return false;
	}
	return true;
}

/* One place behind another at which a step's text may be. All texts are looked for so: a call for each kind of
 * test would take more of the stack than there is. */
struct filter_search {
	u32 at, place;
	u32 second; /* 0 or 1 */
	bool found;
};

static long filter_search_turn(u32 turn, struct filter_search *search)
{
	const struct filter_step *step = bpf_map_lookup_elem(&where_filter, &search->place);
	const u8 *found = filter_at(search->at++);
	u32 second = search->second & 1;

	if (!step || !found)
		return 1;
	if (second && *found)
		return 0;
	search->found = filter_is_at(step, found + second);
	return second || search->found;
}

/* Global: see lose_for_first in match.h. */
__weak int filter_finds(u32 at, u32 places, u32 place, bool second)
{
	struct filter_search search = {.at = at, .place = place, .second = second};

	bpf_loop(AT_MOST(places, EVENT_TAIL), filter_search_turn, &search, 0);
	return search.found;
}

static __always_inline bool filter_text_passes(const struct filter_step *step, u32 place, string_t text)
{
	u32 at = text & 0xffff, length = text >> 16, wanted = step->length, places = 0;
	bool second = step->test == filter_second;

	if (step->test == filter_inline) {
		at = step->at;
		places = 1;
	} else if (length >= wanted) {
		u32 spare = length - wanted;

		if (step->test == filter_same)
			places = !spare;
		else if (step->test == filter_begins)
			places = 1;
		else
			places = spare + !second;
		if (step->test == filter_ends) {
			at += spare;
			places = 1;
		}
	}
	return filter_finds(at, places, place, second);
}

static __always_inline bool filter_passes(const struct filter_step *step, u32 place)
{
	const u8 *column = filter_at(step->at);

	if (!column)
		return false;
	u64 value = *(const u64 *)column;

	if (step->test == filter_number)
		return ((value - step->least) & step->mask) <= step->above;
	if (step->test == filter_bits)
		return (value & step->mask) == step->mask;
	return filter_text_passes(step, place, value);
}

static long filter_turn(u32 turn, u32 *place)
{
	const struct filter_step *step = bpf_map_lookup_elem(&where_filter, place);

	if (!step)
		return 1;
	*place = filter_passes(step, *place) ? step->yes : step->no;
	return 0;
}

/* Whether the event that is put together is wanted. */
static __always_inline bool event_wanted(const struct match *match)
{
	struct scratch *slot = this_scratch();
	u32 place = 0;

	if (!filters)
		return true;
	if (!slot)
		return false;
	subject_fill(&slot->event.who, match);
	bpf_loop(MAX_FILTER, filter_turn, &place, 0);
	return place == FILTER_PASSES;
}

static __always_inline bool event_admit_unfiltered(struct match *match)
{
	return filters || event_admit(match);
}

static __always_inline int event_send_filtered(struct match *match)
{
	if (filters && (!event_wanted(match) || !event_admit(match)))
		return event_cancel();
	return event_send(match);
}
