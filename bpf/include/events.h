// SPDX-License-Identifier: GPL-2.0
/* How a tracker matches, limits, builds and sends its events.
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
 * What needs no string to decide calls event_admit before event_begin, which is cheaper.
 * For each cgroup and job: matched = sent + lost + limited + sampled_out.
 */
#pragma once

#include "eunomia.h"

enum { MAX_JOBS = 64, MAX_ACCOUNTS = 8192 };

/* Who shares this instance, and each one's token bucket; written by the agent. */
struct limit {
	u64 period_ns; /* between two events, in the long run; 0: no limit */
	u64 burst_ns;  /* how far ahead of that pace a burst may run */
};
struct instance {
	job_set_t jobs;
	struct limit limits[MAX_JOBS];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct instance);
} instance SEC(".maps");

/* Absolute counts, and the state of the token bucket. Room for all is made at the start, like that
 * of `targets`. */
struct account_key {
	cgroup_id_t cgroup_id;
	u32 job;
	u32 pad;
};
struct account {
	u64 next; /* CLOCK_BOOTTIME ns at which the bucket will be full again */
	u64 matched;
	u64 lost;
	u64 limited;
	u64 sampled_out;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ACCOUNTS);
	__type(key, struct account_key);
	__type(value, struct account);
} accounts SEC(".maps");

/* Events of refused cgroups, and of cgroups for which no account could be opened. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} unclassified SEC(".maps");

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

/* ---- accounts ---- */

struct match {
	cgroup_id_t cgroup_id;
	job_set_t jobs;
	boot_ns_t time;
	u32 state; /* enum target_state */
	bool admitted;
};

static __always_inline bool match_cgroup(struct match *match, cgroup_id_t cgroup_id)
{
	u32 zero = 0;
	struct target *target = bpf_map_lookup_elem(&targets, &cgroup_id);

	if (!target)
		return false;
	struct instance *shared = bpf_map_lookup_elem(&instance, &zero);

	if (!shared)
		return false;
	match->cgroup_id = cgroup_id;
	match->jobs = target->jobs & shared->jobs;
	match->state = target->state;
	return match->jobs != 0;
}

static __always_inline bool match_current(struct match *match)
{
	return match_cgroup(match, bpf_get_current_cgroup_id());
}

static __always_inline void count_unclassified(void)
{
	u32 zero = 0;
	u64 *count = bpf_map_lookup_elem(&unclassified, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct account *account_of(cgroup_id_t cgroup_id, u32 job)
{
	struct account_key key = {.cgroup_id = cgroup_id, .job = job};
	struct account *account = bpf_map_lookup_elem(&accounts, &key);

	if (account)
		return account;
	struct account empty = {};

	bpf_map_update_elem(&accounts, &key, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&accounts, &key);
}

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

/* The number of the lowest bit that is set: how many are below it. BPF has no instruction for it,
 * and anything with a branch multiplies what the verifier has to walk. */
static __always_inline u32 lowest_bit(u64 set)
{
	u64 below = (set & -set) - 1;

	below -= below >> 1 & 0x5555555555555555ull;
	below = (below & 0x3333333333333333ull) + (below >> 2 & 0x3333333333333333ull);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return below * 0x0101010101010101ull >> 56;
}

/* The functions marked weak are global ones: the verifier walks each once, and not once more on
 * every path that leads to it, loops included. It is most of the load time. */
__weak int admit_for_job(cgroup_id_t cgroup_id, u32 job, boot_ns_t now)
{
	struct account *account = account_of(cgroup_id, job);

	if (!account) {
		count_unclassified();
		return false;
	}
	__sync_fetch_and_add(&account->matched, 1);
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
		if (admit_for_job(cgroup_id, lowest_bit(jobs), now))
			admitted |= jobs & -jobs;
		jobs &= jobs - 1;
	}
	return admitted;
}

__weak int lose_for_job(cgroup_id_t cgroup_id, u32 job)
{
	struct account *account = account_of(cgroup_id, job);

	if (account)
		__sync_fetch_and_add(&account->lost, 1);
	return 0;
}

__weak int lose_for_jobs(cgroup_id_t cgroup_id, job_set_t jobs)
{
	for (int turn = 0; turn < MAX_JOBS && jobs; turn++) {
		lose_for_job(cgroup_id, lowest_bit(jobs));
		jobs &= jobs - 1;
	}
	return 0;
}

/* Counts the event as matched; what stays in match->jobs is within its limit. */
static __always_inline bool event_admit(struct match *match)
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

static __always_inline void event_lose(const struct match *match)
{
	lose_for_jobs(match->cgroup_id, match->jobs);
}

/* ---- building and sending ---- */

static __always_inline struct scratch *this_scratch(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

/* The members of what it returns are those of the event before: a tracker sets every one of its
 * own. `who` is set by event_send. */
static __always_inline struct event *event_begin(struct match *match)
{
	struct scratch *slot = this_scratch();

	if (!slot)
		return NULL;
	if (__sync_lock_test_and_set(&slot->busy, 1)) {
		if (match->admitted || event_admit(match))
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

/* Where the next string goes: `limit` bytes are free from there on. NULL: the tail is full. */
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

static __always_inline void subject_fill(struct subject *who, const struct match *match)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 pid_tgid = bpf_get_current_pid_tgid();

	who->time = match->time;
	who->cgroup_id = match->cgroup_id;
	who->jobs = match->jobs;
	who->start_time = task->group_leader->start_boottime;
	who->pid = pid_tgid >> 32;
	who->tid = pid_tgid;
	who->uid = bpf_get_current_uid_gid();
	who->subject_flags = match->state == target_pending ? subject_pending : 0;
	bpf_get_current_comm(who->comm, sizeof(who->comm));
}

/* Sends what event_begin gave, for the jobs that event_admit let pass. */
static __always_inline int event_send(const struct match *match)
{
	struct scratch *slot = this_scratch();

	if (!slot)
		return 0;
	u64 length = slot->tail_used;

	if (length > EVENT_TAIL)
		length = EVENT_TAIL;
	length += sizeof(struct event);
	subject_fill(&slot->event.who, match);
	if (bpf_ringbuf_output(&events, &slot->event, length, wake_flags(length)))
		event_lose(match);
	slot->busy = 0;
	return 0;
}
