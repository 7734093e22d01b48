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

/* Global, as are others below: see lose_for_first in match.h. */
__weak int filter_is_at(u32 at, u32 place)
{
	const struct filter_step *step = bpf_map_lookup_elem(&where_filter, &place);
	const u8 *found = filter_at(at);

	if (!step || !found)
		return false;
	for (u32 i = 0; i < FILTER_TEXT; i++) {
		if (i >= step->length)
			return true;
		if (found[i] != (u8)step->text[i])
			return false;
	}
	return true;
}

struct filter_search {
	u32 at, place;
	bool second, found;
};

static long filter_search_turn(u32 turn, struct filter_search *search)
{
	const u8 *letter = filter_at(search->at);

	if (!letter)
		return 1;
	if (search->second && *letter) {
		search->at++;
		return 0;
	}
	search->found = filter_is_at(search->at + search->second, search->place);
	search->at++;
	return search->second || search->found;
}

__weak int filter_search(u32 at, u32 places, u32 place, bool second)
{
	struct filter_search search = {.at = at, .place = place, .second = second};

	bpf_loop(AT_MOST(places, EVENT_TAIL), filter_search_turn, &search, 0);
	return search.found;
}

static __always_inline bool filter_text_passes(const struct filter_step *step, u32 place, string_t text)
{
	u32 begin = text & 0xffff, length = text >> 16, wanted = step->length;

	switch (step->test) {
	case filter_same:
		return length == wanted && filter_is_at(begin, place);
	case filter_begins:
		return length >= wanted && filter_is_at(begin, place);
	case filter_ends:
		return length >= wanted && filter_is_at(begin + length - wanted, place);
	case filter_holds:
		return length >= wanted && filter_search(begin, length - wanted + 1, place, false);
	case filter_second:
		return length > wanted && filter_search(begin, length - wanted, place, true);
	}
	return false;
}

static __always_inline bool filter_passes(const struct filter_step *step, u32 place)
{
	const u8 *column = filter_at(step->at);

	if (!column)
		return false;
	u64 value = *(const u64 *)column;

	switch (step->test) {
	case filter_number:
		return ((value - step->least) & step->mask) <= step->above;
	case filter_bits:
		return (value & step->mask) == step->mask;
	case filter_inline:
		return filter_is_at(step->at, place);
	}
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

__weak int event_passes(void)
{
	u32 place = 0;

	bpf_loop(MAX_FILTER, filter_turn, &place, 0);
	return place == FILTER_PASSES;
}

/* Whether the event that is put together is wanted. */
static __always_inline bool event_wanted(const struct match *match)
{
	struct scratch *slot = this_scratch();

	if (!filters)
		return true;
	if (!slot)
		return false;
	subject_fill(&slot->event.who, match);
	return event_passes();
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
