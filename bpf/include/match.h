// SPDX-License-Identifier: GPL-2.0
/* Who is a target, for which jobs, and the account of what was seen: what every tracker shares,
 * whatever shape its results have.
 *
 *	struct match match = {};
 *	if (!match_current(&match))		is the current task a target of a job?
 *		return 0;
 *	if (!within(&where_port, port))		a condition on a column of its own, see WHERE
 *		return 0;
 *
 * What happens elsewhere than in the task that caused it, in a softirq for example, is matched by an
 * owner that was saved when the task was there: match_owner().
 */
#pragma once

#include "eunomia.h"
#include "hierarchy.h"

enum { MAX_JOBS = 64, MAX_ACCOUNTS = 4096, MAX_PIDS = 4096 };

/* Who shares this instance, and each one's token bucket and sample; written by the agent. */
struct limit {
	u64 period_ns; /* between two events, in the long run; 0: no limit; ~0: none passes */
	u64 burst_ns;  /* how far ahead of that pace a burst may run */
	u64 sample;    /* one event in so many is kept; 0 and 1: all */
};
struct instance {
	job_set_t jobs;
	job_set_t everywhere; /* those of them that watch every cgroup */
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

/* Events of refused cgroups, of cgroups for which no account could be opened, and of nobody. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} unclassified SEC(".maps");

/* What is done about an event, other than to tell of it: who makes it is killed, or it is refused. The
 * agent sets it where a job asks for that, and only where all of the job's condition is decided in
 * here. See event_admit. */
enum enforcement {
	enforce_nothing = 0,
	enforce_kill = 1,
	enforce_deny = 2,
};
const volatile u32 enforcement = enforce_nothing;

/* The agent's own cgroup, in which nobody is ever killed or refused anything. */
const volatile cgroup_id_t own_cgroup = 0;

/* ---- conditions that the agent takes out of a job's `where` ---- */

/* WHERE(column) makes the column of that name one that the kernel can decide on. While no job says
 * anything about it the verifier removes the comparison. */
struct range {
	s64 least, most;
};
#define S64_MIN ((s64)1 << 63)
#define S64_MAX (~S64_MIN)
#define WHERE(column) const volatile struct range where_##column = {S64_MIN, S64_MAX}

static __always_inline bool within(const volatile struct range *range, s64 value)
{
	return value >= range->least && value <= range->most;
}

/* AMONG(column), beside WHERE(column): one of some values, where not all values between the least and the
 * most are meant. */
enum { MAX_AMONG = 16 };
struct numbers {
	u64 count; /* 0: any value */
	s64 of[MAX_AMONG];
};
#define AMONG(column) const volatile struct numbers among_##column = {}

static __always_inline bool among(const volatile struct numbers *numbers, s64 value)
{
	if (!numbers->count)
		return true;
#pragma unroll
	for (u32 i = 0; i < MAX_AMONG; i++)
		if (i < numbers->count && value == numbers->of[i])
			return true;
	return false;
}

/* WHERE_FLAGS(column): all of some bits of it. */
#define WHERE_FLAGS(column) const volatile u32 where_##column = 0

static __always_inline bool has_flags(u32 wanted, u32 value)
{
	return (value & wanted) == wanted;
}

static __always_inline bool has_range(const volatile struct range *range)
{
	return range->least != S64_MIN || range->most != S64_MAX;
}

/* A text that begins with, or is, some bytes. */
struct text_range {
	u32 length; /* 0 without `exact`: any text */
	u32 exact;
	char bytes[TASK_COMM_LEN];
};

WHERE(pid);
WHERE(tid);
WHERE(uid);
const volatile struct text_range where_comm = {};

/* Only these processes, when by_pid is set; with follow_children also what they start. One stays
 * until its last thread is out of the kernel; then it is among the ended ones for a while, since
 * what it began, such as a connection, may go on without it. */
const volatile bool by_pid = false;
const volatile bool follow_children = false;
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PIDS);
	__type(key, tgid_t);
	__type(value, boot_ns_t); /* when it began; 0: not known */
} pids SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PIDS);
	__type(key, tgid_t);
	__type(value, boot_ns_t);
} ended_pids SEC(".maps");

/* A process found no room in `pids`: from then on anyone may be one that is to be followed. */
static bool pids_refused;

static __always_inline void count_unclassified(void)
{
	u32 zero = 0;
	u64 *count = bpf_map_lookup_elem(&unclassified, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline bool comm_wanted(const char *comm)
{
	if (!where_comm.length && !where_comm.exact)
		return true;
#pragma unroll
	for (u32 i = 0; i < TASK_COMM_LEN; i++) {
		if (i >= where_comm.length)
			return !where_comm.exact || !comm[i];
		if (comm[i] != where_comm.bytes[i])
			return false;
	}
	return true;
}

static __always_inline bool pid_wanted(tgid_t pid, tid_t tid)
{
	if (!within(&where_pid, pid) || !within(&where_tid, tid))
		return false;
	if (!by_pid || bpf_map_lookup_elem(&pids, &pid))
		return true;
	if (pids_refused)
		count_unclassified();
	return false;
}

/* Likewise, of a process that may have ended. */
static __always_inline bool owner_pid_wanted(tgid_t pid, tid_t tid)
{
	if (by_pid && bpf_map_lookup_elem(&ended_pids, &pid))
		return within(&where_pid, pid) && within(&where_tid, tid);
	return pid_wanted(pid, tid);
}

/* ---- who it was ---- */

/* Who did something that is told of later: the one that opened a socket, began a request. */
struct owner {
	cgroup_id_t cgroup_id;
	boot_ns_t start_time;
	tgid_t pid;
	tid_t tid;
	uid_t uid;
	u32 pad;
	comm_t comm;
};

static __always_inline void owner_current(struct owner *owner)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 pid_tgid = bpf_get_current_pid_tgid();

	owner->cgroup_id = task_cgroup_id(task);
	owner->start_time = task->group_leader->start_boottime;
	owner->pid = pid_tgid >> 32;
	owner->tid = pid_tgid;
	owner->uid = bpf_get_current_uid_gid();
	owner->pad = 0;
	bpf_get_current_comm(owner->comm, sizeof(owner->comm));
}

/* ---- whose it is ---- */

struct match {
	cgroup_id_t cgroup_id;
	job_set_t jobs;
	boot_ns_t time;
	const struct owner *owner; /* NULL: the current task */
	u32 state;		   /* enum target_state */
	bool admitted;
	bool current;  /* it is about the current task, for sure */
	bool enforced; /* which was sent SIGKILL for it, or refused it */
	bool refused;  /* or was refused it by another instance, which tells of that: see refused.h */
};

static __always_inline bool match_cgroup(struct match *match, cgroup_id_t cgroup_id)
{
	u32 zero = 0;
	struct target *target = bpf_map_lookup_elem(&targets, &cgroup_id);
	struct instance *shared = bpf_map_lookup_elem(&instance, &zero);

	if (!shared)
		return false;
	match->cgroup_id = cgroup_id;
	match->jobs = shared->everywhere;
	match->state = target_classified;
	if (target && target->state == target_refused && shared->everywhere) {
		count_unclassified(); /* of the other jobs; these want it whoever it is */
	} else if (target) {
		match->jobs |= target->jobs & shared->jobs;
		match->state = target->state;
	}
	return match->jobs != 0;
}

/* Whether there is a condition on processes: what tells of no process does not pass it. */
static __always_inline bool asks_for_processes(void)
{
	return by_pid || has_range(&where_pid) || has_range(&where_tid) || has_range(&where_uid) ||
	       where_comm.length || where_comm.exact;
}

/* Free of cost while no job has a condition: the verifier takes out what is then never reached, but
 * no call of a helper whose result is unused, and each of these costs as much as a look-up. */
static __always_inline bool current_wanted(void)
{
	if (has_range(&where_pid) || has_range(&where_tid) || by_pid) {
		u64 pid_tgid = bpf_get_current_pid_tgid();

		if (!pid_wanted(pid_tgid >> 32, pid_tgid))
			return false;
	}
	if (has_range(&where_uid) && !within(&where_uid, (u32)bpf_get_current_uid_gid()))
		return false;
	if (where_comm.length || where_comm.exact) {
		comm_t comm = {};

		bpf_get_current_comm(comm, sizeof(comm));
		return comm_wanted(comm);
	}
	return true;
}

static __always_inline bool match_current(struct match *match)
{
	match->current = true;
	return match_cgroup(match, task_cgroup_id(bpf_get_current_task_btf())) && current_wanted();
}

/* The current task as it is about to be, which `owner` tells: see match_owner. */
static __always_inline bool match_becoming(struct match *match, const struct owner *owner)
{
	match->current = true;
	match->owner = owner;
	return match_cgroup(match, owner->cgroup_id) && pid_wanted(owner->pid, owner->tid) &&
	       within(&where_uid, owner->uid) && comm_wanted(owner->comm);
}

/* Only objects that use match_owner have this variable. It tells the agent that their events may be
 * about others than the current task, and that they can kill nobody. */
static const volatile bool matches_owners = true;

/* `owner` must stay where it is until the event is sent. */
static __always_inline bool match_owner(struct match *match, const struct owner *owner)
{
	match->current = !matches_owners;
	match->owner = owner;
	return match_cgroup(match, owner->cgroup_id) &&
	       owner_pid_wanted(owner->pid, owner->tid) && within(&where_uid, owner->uid) &&
	       comm_wanted(owner->comm);
}

/* ---- accounts ---- */

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
__weak int lose_for_first(cgroup_id_t cgroup_id, job_set_t jobs, u64 matched)
{
	struct account *account = account_of(cgroup_id, lowest_bit(jobs));

	if (!account) {
		count_unclassified();
		return 0;
	}
	__sync_fetch_and_add(&account->matched, matched);
	__sync_fetch_and_add(&account->lost, 1);
	return 0;
}

/* Counts an event as lost for each job; matched: 0 if it was counted as such already, else 1. */
__weak int lose_for_jobs(cgroup_id_t cgroup_id, job_set_t jobs, u64 matched)
{
	for (int turn = 0; turn < MAX_JOBS && jobs; turn++) {
		lose_for_first(cgroup_id, jobs, matched);
		jobs &= jobs - 1;
	}
	return 0;
}

/* ---- what the processes of `pids` start; switched on by the agent with follow_children ---- */

SEC("tp_btf/sched_process_fork")
int BPF_PROG(follow_fork, struct task_struct *parent, struct task_struct *child)
{
	tgid_t from = parent->tgid, to = child->tgid;
	boot_ns_t began = child->start_boottime;

	if (from == to)
		return 0;
	bpf_map_delete_elem(&ended_pids, &to);
	if (!bpf_map_lookup_elem(&pids, &from))
		bpf_map_delete_elem(&pids, &to);
	else if (bpf_map_update_elem(&pids, &to, &began, BPF_ANY))
		pids_refused = true;
	return 0;
}

/* Comes for each thread, last for the one that the process is named after; and, since it waits for
 * an RCU grace period, perhaps when the next process has the id already. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(forget_process, struct task_struct *task)
{
	tgid_t pid = task->tgid;
	boot_ns_t ended = task->start_boottime;
	boot_ns_t *began = bpf_map_lookup_elem(&pids, &pid);

	if (task->pid != pid || !began || (*began && *began != ended))
		return 0;
	bpf_map_update_elem(&ended_pids, &pid, &ended, BPF_ANY);
	bpf_map_delete_elem(&pids, &pid);
	return 0;
}
