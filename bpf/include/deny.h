// SPDX-License-Identifier: GPL-2.0
/* Refusing what is about to be done: programs at the security hooks (Documentation/bpf/prog_lsm.rst), of
 * which the agent loads those that a rule needs, and no other program of the tracker.
 *
 *	struct match match = {};
 *	if (!match_deed(&match))	may the current task be refused anything?
 *		return 0;
 *	…				all conditions, as for what has succeeded
 *	event_admit(&match);		says in match.enforced whether it is refused
 *	if (match.jobs)			and an event is made of it, as of anything else
 *		…
 *	return refusal(match.enforced);
 *
 * A task may be preempted in such a program, and another one run it on the same CPU meanwhile: what is in
 * that CPU's maps is then the other's. So each takes a turn there, and what it has found holds if nobody
 * took the next turn before it was done.
 */
#pragma once

#include "events.h"
#include "refused.h"

/* Of threads of the kernel, and of what it does in the name of a process that has crashed, nothing is
 * refused: the core dump is written by whoever decides where it goes. include/linux/sched.h */
static __always_inline bool is_users_deed(void)
{
	enum { PF_DUMPCORE = 0x200, PF_KTHREAD = 0x200000 };

	return !(bpf_get_current_task_btf()->flags & (PF_DUMPCORE | PF_KTHREAD));
}

static __always_inline bool match_deed(struct match *match)
{
	return match_current(match) && is_users_deed();
}

/* What a program returns. Two constants on two paths: newer verifiers want to see no other number, and
 * lose sight of one that is computed. */
static __always_inline int refusal(bool denied)
{
	int result = 0;

	if (denied) {
		note_refused_call();
		result = -EPERM;
		barrier_var(result);
	}
	return result;
}

/* ---- turns ---- */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} turns SEC(".maps");

/* A turn is lost to another task only with the CPU. Who loses so many behind one another is refused. */
enum { MAX_TURNS = 8 };

static __always_inline u64 turn_begin(void)
{
	u32 zero = 0;
	u64 *turn = bpf_map_lookup_elem(&turns, &zero);

	return turn ? __sync_fetch_and_add(turn, 1) + 1 : 0;
}

static __always_inline bool turn_holds(u64 mine)
{
	u32 zero = 0;
	volatile u64 *turn = bpf_map_lookup_elem(&turns, &zero);

	return turn && *turn == mine;
}

/* As event_begin, of an event that is only asked about: whoever else was at one does not send that, since
 * its turn is over. */
static __always_inline void event_begin_in_turn(void)
{
	struct scratch *slot = this_scratch();

	if (slot)
		slot->tail_used = 0;
}

/* Whether event_wanted (filter.h) says so of what `fill`, a call that is given `event`, puts together. */
#define wanted_in_turn(match, event, fill)                                      \
	({                                                                      \
		bool answer_ = true;                                            \
		for (int attempt_ = 0; attempt_ < MAX_TURNS; attempt_++) {      \
			struct scratch *slot_ = this_scratch();                 \
			u64 turn_ = turn_begin();                               \
                                                                                \
			if (!slot_) {                                           \
				answer_ = false;                                \
				break;                                          \
			}                                                       \
			struct event *event = &slot_->event;                    \
                                                                                \
			event_begin_in_turn();                                  \
			fill;                                                   \
			bool wanted_ = event_wanted(match);                     \
                                                                                \
			if (turn_holds(turn_)) {                                \
				answer_ = wanted_;                              \
				break;                                          \
			}                                                       \
		}                                                               \
		answer_;                                                        \
	})

/* As event_send, of an event that was put together in a turn. */
static __always_inline void event_send_in_turn(const struct match *match, u64 turn)
{
	if (turn_holds(turn)) {
		event_send(match);
		return;
	}
	event_lose(match);
	event_cancel();
}
