// SPDX-License-Identifier: GPL-2.0
/* How a tracker limits, builds and sends its events.
 *
 * Before including this, a tracker defines `struct event`, whose first member is
 * `struct subject who`, and EVENT_TAIL, the most bytes of strings that one event may carry.
 *
 *	struct match match = {};
 *	if (!match_current(&match))		a target of a job that shares this instance?
 *		return 0;
 *	struct event *event = event_begin(&match);
 *	if (!event)				lost, and counted
 *		return 0;
 *	event->path = event_user_string(pointer);
 *	if (!prefix_of(event->path))		a filter on what was just read
 *		return event_cancel();
 *	if (!event_admit(&match))		counts as matched; false: over every job's limit
 *		return event_cancel();
 *	return event_send(&match);
 *
 * What needs no string to decide calls event_admit before event_begin, which is cheaper. Whatever is
 * decided in the kernel comes before event_admit: for a job that kills or denies, it does.
 * For each cgroup and job: matched = sent + lost + limited + sampled_out.
 */
#pragma once

#include "match.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

/* One event is built here at a time; a second one on the same CPU finds it busy. The tail is longer
 * than EVENT_TAIL so that the verifier sees room behind any offset that is still allowed. */
struct scratch {
	u64 busy;
	u32 tail_used;
	u32 pad;
	struct event event;
	u8 tail[2 * EVENT_TAIL];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

static bool reader_hurried;

/* ---- limits ---- */

/* The generic cell rate algorithm (ITU-T I.371): `next` runs ahead of the clock by one period an
 * event, and may be ahead by burst_ns at most. A race that is lost four times lets the event pass. */
static __always_inline bool within_limit(struct account *account, u32 job, boot_ns_t now)
{
	u32 zero = 0;
	struct instance *shared = bpf_map_lookup_elem(&instance, &zero);

	if (!shared || job >= MAX_JOBS)
		return true;
	u64 period = shared->limits[job].period_ns, burst = shared->limits[job].burst_ns;

	if (!period)
		return true;
	if (period == ~0ull)
		return false;
#pragma unroll
	for (int attempt = 0; attempt < 4; attempt++) {
		u64 next = account->next, start = next > now ? next : now;

		if (start - now > burst)
			return false;
		if (__sync_val_compare_and_swap(&account->next, next, start + period) == next)
			return true;
	}
	return true;
}

static __always_inline bool in_sample(u32 job)
{
	u32 zero = 0;
	struct instance *shared = bpf_map_lookup_elem(&instance, &zero);

	if (!shared || job >= MAX_JOBS)
		return true;
	u64 sample = shared->limits[job].sample;

	return sample <= 1 || bpf_get_prandom_u32() % sample == 0;
}

__weak int admit_for_first(cgroup_id_t cgroup_id, job_set_t jobs, boot_ns_t now)
{
	u32 job = lowest_bit(jobs);
	struct account *account = account_of(cgroup_id, job);

	if (!account) {
		count_unclassified();
		return false;
	}
	__sync_fetch_and_add(&account->matched, 1);
	if (!in_sample(job)) {
		__sync_fetch_and_add(&account->sampled_out, 1);
		return false;
	}
	if (within_limit(account, job, now))
		return true;
	__sync_fetch_and_add(&account->limited, 1);
	return false;
}

/* Counts the event as matched for each job, and returns those within their limits. */
__weak u64 admit_for_jobs(cgroup_id_t cgroup_id, job_set_t jobs, boot_ns_t now)
{
	job_set_t admitted = 0;

	for (int turn = 0; turn < MAX_JOBS && jobs; turn++) {
		if (admit_for_first(cgroup_id, jobs, now))
			admitted |= jobs & -jobs;
		jobs &= jobs - 1;
	}
	return admitted;
}

/* Counts the event as matched; what stays in match->jobs is within its limit. */
static __always_inline bool admit(struct match *match)
{
	match->time = bpf_ktime_get_boot_ns();
	match->admitted = true;
	if (match->state == target_refused) {
		count_unclassified();
		match->jobs = 0;
		return false;
	}
	match->jobs = admit_for_jobs(match->cgroup_id, match->jobs, match->time);
	return match->jobs != 0;
}

/* ---- enforcement ---- */

enum { kill_signal = 9 }; /* SIGKILL */

/* By slot: CLOCK_BOOTTIME ns from which on the job enforces nothing more, 0: it goes on; and how often
 * it did. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_JOBS);
	__type(key, u32);
	__type(value, boot_ns_t);
} enforce_until SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_JOBS);
	__type(key, u32);
	__type(value, u64);
} enforced SEC(".maps");

/* Returns those of the jobs that enforce their condition at this time. */
__weak u64 enforcers_of(job_set_t jobs, boot_ns_t now)
{
	job_set_t enforcers = 0;

	for (int turn = 0; turn < MAX_JOBS && jobs; turn++) {
		u32 job = lowest_bit(jobs);
		boot_ns_t *until = bpf_map_lookup_elem(&enforce_until, &job);

		if (until && (!*until || now < *until))
			enforcers |= jobs & -jobs;
		jobs &= jobs - 1;
	}
	return enforcers;
}

__weak int count_enforced(job_set_t jobs)
{
	for (int turn = 0; turn < MAX_JOBS && jobs; turn++) {
		u32 job = lowest_bit(jobs);
		u64 *count = bpf_map_lookup_elem(&enforced, &job);

		if (count)
			__sync_fetch_and_add(count, 1);
		jobs &= jobs - 1;
	}
	return 0;
}

/* Who is killed is gone before it is in user space again: it does not see what came of its call. The
 * first process of a container gets no mercy, other than that of the machine (kernel/signal.c). What is
 * denied, the program at whose hook this is has to refuse. */
static __always_inline void enforce(struct match *match)
{
	if (!match->current || match->state != target_classified ||
	    match->cgroup_id == own_cgroup)
		return;
	job_set_t enforcers = enforcers_of(match->jobs, bpf_ktime_get_boot_ns());

	if (!enforcers || (enforcement == enforce_kill && bpf_send_signal(kill_signal)))
		return;
	match->enforced = true;
	count_enforced(enforcers);
}

/* Of an event that is wanted, all of the conditions having been asked: kills whom it is about or denies
 * it, where a job is there for that, and counts it as matched. What stays in match->jobs is within its
 * limit: enforcement has none. */
static __always_inline bool event_admit(struct match *match)
{
	if (enforcement)
		enforce(match);
	return admit(match);
}

static __always_inline void event_lose(const struct match *match)
{
	lose_for_jobs(match->cgroup_id, match->jobs, 0);
}

/* ---- building and sending ---- */

/* The lesser of a u64 and a constant. What C compares may be another copy of a value than the one that
 * is used later, and Linux 6.1 then sees no bound on that. */
#define AT_MOST(value, most)                                                             \
	({                                                                               \
		u64 least_ = (value);                                                    \
		asm("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(least_) : "i"((u64)(most))); \
		least_;                                                                  \
	})

static __always_inline struct scratch *this_scratch(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

/* Whether the event is wanted may still be open: who finds the room busy is not killed.
 * The members of what it returns are those of the event before: a tracker sets every one of its
 * own. `who` is set by event_send. */
static __always_inline struct event *event_begin(struct match *match)
{
	struct scratch *slot = this_scratch();

	if (!slot)
		return NULL;
	if (__sync_lock_test_and_set(&slot->busy, 1)) {
		if (match->admitted || admit(match))
			event_lose(match);
		return NULL;
	}
	slot->tail_used = 0;
	return &slot->event;
}

static __always_inline int event_cancel(void)
{
	struct scratch *slot = this_scratch();

	if (slot)
		slot->busy = 0;
	return 0;
}

/* Notes that `length` more bytes of the tail are used, and names them. */
static __always_inline u32 tail_take(struct scratch *slot, u32 length)
{
	u32 offset = sizeof(struct event) + slot->tail_used;

	if (!length)
		return 0;
	slot->tail_used += length;
	return length << 16 | offset;
}

/* Where the next string goes: `limit` bytes are free from there on. NULL: the tail is full. A limit of
 * all of EVENT_TAIL makes that a test for 0, which Linux 6.1 does not remember. */
static __always_inline u8 *tail_free(struct scratch *slot, u32 limit)
{
	u32 used = slot->tail_used;

	if (limit > EVENT_TAIL || used > EVENT_TAIL - limit)
		return NULL;
	return &slot->tail[used];
}

/* A NUL-terminated string of user space, at most `limit` bytes with its NUL; 0 if unreadable. */
static __always_inline string_t event_user_string(const void *from, u32 limit)
{
	struct scratch *slot = this_scratch();
	u8 *to = slot ? tail_free(slot, limit) : NULL;

	if (!to)
		return 0;
	long length = bpf_probe_read_user_str(to, limit, from);

	return length > 1 ? tail_take(slot, length - 1) : 0;
}

/* Likewise, of the kernel. */
static __always_inline string_t event_kernel_string(const void *from, u32 limit)
{
	struct scratch *slot = this_scratch();
	u8 *to = slot ? tail_free(slot, limit) : NULL;

	if (!to)
		return 0;
	long length = bpf_probe_read_kernel_str(to, limit, from);

	return length > 1 ? tail_take(slot, length - 1) : 0;
}

/* `length` bytes of user space; 0 if unreadable or if they do not fit. */
static __always_inline string_t event_user_bytes(const void *from, u32 length)
{
	struct scratch *slot = this_scratch();

	if (!slot || !length || length > EVENT_TAIL)
		return 0;
	u32 used = slot->tail_used;

	if (used > EVENT_TAIL - length || used > EVENT_TAIL)
		return 0;
	return bpf_probe_read_user(&slot->tail[used], length, from) ? 0 : tail_take(slot, length);
}

/* Wakes the reader when it had caught up (the kernel's own rule), and once more when the ring
 * becomes half full while it waits for more to come. */
static __always_inline u64 wake_flags(u64 length)
{
	u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	bool hurry = waiting + length > bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 2;

	if (hurry == reader_hurried)
		return 0;
	reader_hurried = hurry;
	return hurry ? BPF_RB_FORCE_WAKEUP : 0;
}

static __always_inline u32 subject_enforced(void)
{
	return enforcement == enforce_kill ? subject_killed : subject_denied;
}

static __always_inline void subject_fill(struct subject *who, const struct match *match)
{
	const struct owner *owner = match->owner;

	who->time = match->time;
	who->cgroup_id = match->cgroup_id;
	who->jobs = match->jobs;
	who->subject_flags = (match->state == target_pending ? subject_pending : 0) |
			     (match->enforced ? subject_enforced() : 0) |
			     (match->refused ? subject_refused : 0);
	if (owner) {
		who->start_time = owner->start_time;
		who->pid = owner->pid;
		who->tid = owner->tid;
		who->uid = owner->uid;
		__builtin_memcpy(who->comm, owner->comm, sizeof(who->comm));
		return;
	}
	/* Loads, where there is a helper for each: a call costs more than all of these. */
	struct task_struct *task = bpf_get_current_task_btf();

	who->start_time = task->group_leader->start_boottime;
	who->pid = task->tgid;
	who->tid = task->pid;
	who->uid = task->cred->uid.val;
	__builtin_memcpy(who->comm, task->comm, sizeof(who->comm));
}

/* Sends what event_begin gave, for the jobs that event_admit let pass. */
static __always_inline int event_send(const struct match *match)
{
	struct scratch *slot = this_scratch();

	if (!slot)
		return 0;
	u64 length = slot->tail_used;

	length = AT_MOST(length, EVENT_TAIL) + sizeof(struct event);
	subject_fill(&slot->event.who, match);
	if (bpf_ringbuf_output(&events, &slot->event, length, wake_flags(length)))
		event_lose(match);
	slot->busy = 0;
	return 0;
}
