// SPDX-License-Identifier: GPL-2.0
/* What the containers of some jobs call and may do, agent-wide: a bit for each system call.
 *
 * A bitmap cannot be flooded: what was called once is known for ever, however much else goes on.
 * A cgroup is recorded from its mkdir on, pending ones too, as long as `targets` holds a learning
 * job for it. A runtime's own calls before the exec of the workload are kept apart, and so are those
 * that come into the container later, as `kubectl exec` does: of each process that somebody outside
 * puts into the cgroup, what it does before its exec is the runtime's.
 */
#include "capability.h"
#include "file.h"
#include "hierarchy.h"

char LICENSE[] SEC("license") = "GPL";

enum { MAX_CGROUPS = 2048, SLOTS = 4096, MAX_STARTING = 4096, MAX_REFUSALS = 4096, MAX_ASKED = 8192 };
enum { MAX_CALLERS = 4096, MAX_CALLER_ANCESTORS = 4 };
enum { CALL_WORDS = 8, MAX_CALL = CALL_WORDS * 64 };

/* include/linux/seccomp.h, include/uapi/linux/seccomp.h */
enum { SECCOMP_MODE_FILTER = 2 };

/* Only these processes, and what they start, where by_process is set. Written by the agent. */
const volatile bool by_process = false;
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STARTING);
	__type(key, tgid_t);
	__type(value, u32);
} processes SEC(".maps");

/* A command that the agent starts itself may share the mounts of whoever started it. */
const volatile bool by_command = false;

/* Written by the agent alone. */
struct learning {
	job_set_t jobs; /* those that learn */
	u64 exits; /* 1: the ends of calls are looked at as well, so that refusals show */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct learning);
} learning SEC(".maps");

/* Of the machine's own table, and of the other one: that of 32-bit programs. */
struct bits {
	u64 words[2 * CALL_WORDS];
};

/* Calls of a cgroup's workload about which nothing is left to do: all that is looked at in the usual
 * case, since an array costs a tenth of what a hash does. Ids of cgroups are counted up, so that two
 * seldom meet in one slot; the second then has none, and takes the longer way each time.
 * The agent frees a slot: closed first, then, when no program can still be writing to it, empty. It
 * also makes every call be looked at once more, by taking all bits out. */
enum { SLOT_FREE = 0, SLOT_CLOSED = ~0ull };
struct slot {
	cgroup_id_t cgroup_id; /* or SLOT_FREE, SLOT_CLOSED */
	struct bits done;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, struct slot);
} slots SEC(".maps");

enum seen_modes {
	seen_unfiltered = 1, /* a process of the workload had no seccomp filter on */
	seen_filtered = 2,
};
struct run {
	u64 whole;	   /* 1: recorded since its mkdir */
	u64 began;	   /* CLOCK_BOOTTIME ns of the first exec; 0: none was seen */
	u64 modes;	   /* enum seen_modes */
	u64 beyond;	   /* calls with a number that has no place in a bitmap */
	u64 level;	   /* of the container's user namespace, the lowest that was seen */
	struct bits called; /* by the workload */
	struct bits filtered; /* by the runtime, with a filter on */
	struct bits started;  /* by the runtime, between what built the container and the exec */
	struct bits tail;     /* the same of a start that goes on */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CGROUPS);
	__type(key, cgroup_id_t);
	__type(value, struct run);
} runs SEC(".maps");

/* What an audited profile allows. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CGROUPS);
	__type(key, cgroup_id_t);
	__type(value, struct bits);
} audited SEC(".maps");

struct refusal_key {
	cgroup_id_t cgroup_id;
	s32 number;
	u16 compat;
	u16 enforced; /* 0: an audited profile would refuse it */
};
struct refusal {
	u64 count;
	comm_t comm; /* who called it first */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_REFUSALS);
	__type(key, struct refusal_key);
	__type(value, struct refusal);
} refusals SEC(".maps");

struct asked_key {
	cgroup_id_t cgroup_id;
	u32 capability;
	u32 pad;
};
struct asked {
	u64 granted;
	u64 denied;
	s32 call; /* of the first one that asked, in the machine's own table; -1: another's */
	u32 pad;
	comm_t comm;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ASKED);
	__type(key, struct asked_key);
	__type(value, struct asked);
} asked SEC(".maps");

/* Who did something first that may be told of. Where there is no room, nobody can say. */
enum caller_of { would_be_refused = 0, was_refused = 1, was_granted = 2, was_denied = 3 };
struct caller_key {
	cgroup_id_t cgroup_id;
	s32 number; /* of a call or a capability */
	u16 compat;
	u16 of; /* enum caller_of */
};
struct caller {
	boot_ns_t time; /* written last: 0 while the rest is */
	u32 uid;
	tgid_t pid;
	comm_t comm;
	tgid_t ancestor_pids[MAX_CALLER_ANCESTORS]; /* the parent first; 0 behind the last one */
	comm_t ancestors[MAX_CALLER_ANCESTORS];
	char exe[FILE_PATH];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CALLERS);
	__type(key, struct caller_key);
	__type(value, struct caller);
} callers SEC(".maps");

/* Written here alone: for what there was no room, ever. */
struct no_room {
	u64 cgroups;
	u64 starting; /* processes of a runtime that counted as the workload's */
	u64 refusals;
	u64 asked;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct no_room);
} no_room SEC(".maps");

/* Processes of a runtime on the way to their exec in a cgroup. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_STARTING);
	__type(key, tgid_t);
	__type(value, u32);
} starting SEC(".maps");

/* A thread with a filter on: the call that it has begun, plus one; 0: none. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, s32);
	__type(value, u64);
} begun SEC(".maps");

/* A fresh one, which is larger than a stack. */
static const struct run no_run = {.level = ~0ull};
static const struct caller no_caller = {};

#define COUNT_NO_ROOM(what)                                                 \
	do {                                                                \
		u32 first = 0;                                              \
		struct no_room *count = bpf_map_lookup_elem(&no_room, &first); \
		if (count)                                                  \
			__sync_fetch_and_add(&count->what, 1);              \
	} while (0)

static __always_inline struct learning *settings(void)
{
	u32 first = 0;

	return bpf_map_lookup_elem(&learning, &first);
}

/* ---- bitmaps ---- */

static __always_inline bool has_place(s32 number)
{
	return number >= 0 && number < MAX_CALL;
}

/* The compiler knows that the number has a place, and would leave out what the verifier asks for. */
static __always_inline u32 word_of(bool compat, u32 number)
{
	u32 word = number / 64 + (compat ? CALL_WORDS : 0);

	asm volatile("%0 &= %1" : "+r"(word) : "i"(2 * CALL_WORDS - 1));
	return word;
}

static __always_inline bool has(const struct bits *bits, bool compat, u32 number)
{
	return bits->words[word_of(compat, number)] >> number % 64 & 1;
}

static __always_inline void set(struct bits *bits, bool compat, u32 number)
{
	if (!has(bits, compat, number))
		__sync_fetch_and_or(&bits->words[word_of(compat, number)], 1ull << number % 64);
}

/* ---- whose calls are recorded ---- */

static __always_inline struct slot *slot_of(cgroup_id_t id)
{
	u32 index = id % SLOTS;

	return bpf_map_lookup_elem(&slots, &index);
}

static __always_inline struct run *open_run(cgroup_id_t id)
{
	struct learning *wanted = settings();
	struct target *target = bpf_map_lookup_elem(&targets, &id);

	if (!wanted || !target || !(target->jobs & wanted->jobs))
		return NULL;
	if (target->state == target_refused)
		return NULL; /* it counts as unclassified */
	bpf_map_update_elem(&runs, &id, &no_run, BPF_NOEXIST);
	struct run *run = bpf_map_lookup_elem(&runs, &id);

	if (!run)
		COUNT_NO_ROOM(cgroups);
	return run;
}

static __always_inline struct run *find_run(cgroup_id_t id)
{
	struct run *run = bpf_map_lookup_elem(&runs, &id);

	return run ? run : open_run(id);
}

static __always_inline bool is_wanted(tgid_t tgid)
{
	return !by_process || bpf_map_lookup_elem(&processes, &tgid);
}

static __always_inline bool is_starting(const struct run *run, tgid_t tgid)
{
	return (run->whole && !run->began) || bpf_map_lookup_elem(&starting, &tgid);
}

/* What it is that a runtime builds a container with. After the last of them come only those calls
 * that a filter may see, wherever the runtime switches it on. */
static __always_inline bool builds_container(bool compat, s32 number)
{
#if defined(__TARGET_ARCH_x86)
	enum { PIVOT_ROOT = 155, MOUNT = 165, UMOUNT2 = 166, UNSHARE = 272, SETNS = 308 };
#else
	enum { UMOUNT2 = 39, MOUNT = 40, PIVOT_ROOT = 41, UNSHARE = 97, SETNS = 268 };
#endif
	enum { OPEN_TREE = 428, FSPICK = 433, MOUNT_SETATTR = 442 };

	return !compat && (number == PIVOT_ROOT || number == MOUNT || number == UMOUNT2 ||
			   number == UNSHARE || number == SETNS ||
			   (number >= OPEN_TREE && number <= FSPICK) || number == MOUNT_SETATTR);
}

static __always_inline void fill_caller(struct caller *caller)
{
	struct task_struct *task = bpf_get_current_task_btf();

	caller->pid = task->tgid;
	caller->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(caller->comm, sizeof(caller->comm));
	if (task->mm && task->mm->exe_file)
		path_write(caller->exe, task->mm->exe_file);
#pragma unroll
	for (u32 i = 0; i < MAX_CALLER_ANCESTORS; i++) {
		task = task->real_parent->group_leader;
		if (!task->tgid)
			break;
		caller->ancestor_pids[i] = task->tgid;
		bpf_probe_read_kernel(caller->ancestors[i], TASK_COMM_LEN, task->comm);
	}
	caller->time = bpf_ktime_get_boot_ns();
}

/* It is for the first one alone: what costs something here is done once a cgroup and thing. */
static __noinline int note_caller(cgroup_id_t id, s32 number, bool compat, u32 of)
{
	struct caller_key key = {.cgroup_id = id, .number = number, .compat = compat, .of = of};

	if (bpf_map_update_elem(&callers, &key, &no_caller, BPF_NOEXIST))
		return 0;
	struct caller *caller = bpf_map_lookup_elem(&callers, &key);

	if (caller)
		fill_caller(caller);
	return 0;
}

/* All numbers that have no place are one: who makes them up shall not take all the room. */
static __always_inline void count_refusal(cgroup_id_t id, s32 number, bool compat, bool enforced)
{
	if (!has_place(number))
		number = MAX_CALL;
	struct refusal_key key = {
		.cgroup_id = id, .number = number, .compat = compat, .enforced = enforced};
	struct refusal *found = bpf_map_lookup_elem(&refusals, &key);

	if (!found) {
		struct refusal fresh = {};

		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
		bpf_map_update_elem(&refusals, &key, &fresh, BPF_NOEXIST);
		note_caller(id, number, compat, enforced ? was_refused : would_be_refused);
		found = bpf_map_lookup_elem(&refusals, &key);
	}
	if (found)
		__sync_fetch_and_add(&found->count, 1);
	else
		COUNT_NO_ROOM(refusals);
}

static __always_inline void record_start(struct run *run, bool compat, s32 number, bool filter)
{
	if (filter)
		set(&run->filtered, compat, number);
	if (builds_container(compat, number))
		__builtin_memset(&run->tail, 0, sizeof(run->tail));
	else
		set(&run->tail, compat, number);
}

/* A call that is not settled. */
static __noinline int record(cgroup_id_t id, s32 number, bool compat)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool filter = task->seccomp.mode == SECCOMP_MODE_FILTER;
	tgid_t tgid = task->tgid;
	struct run *run = find_run(id);

	if (!run || !is_wanted(tgid))
		return 0;
	if (!has_place(number)) {
		__sync_fetch_and_add(&run->beyond, 1);
		return 0;
	}
	if (is_starting(run, tgid)) {
		record_start(run, compat, number, filter);
		return 0;
	}
	set(&run->called, compat, number);
	__sync_fetch_and_or(&run->modes, filter ? seen_filtered : seen_unfiltered);
	struct bits *allowed = bpf_map_lookup_elem(&audited, &id);

	if (allowed && !has(allowed, compat, number)) {
		count_refusal(id, number, compat, false);
		return 0;
	}
	struct slot *slot = slot_of(id);

	if (!slot)
		return 0;
	__sync_val_compare_and_swap(&slot->cgroup_id, SLOT_FREE, id);
	if (slot->cgroup_id == id)
		set(&slot->done, compat, number);
	return 0;
}

/* ---- the beginning of a call: seccomp let it pass ---- */

static __always_inline void note_beginning(struct task_struct *task, s32 number)
{
	struct learning *wanted = settings();

	if (!wanted || !wanted->exits)
		return;
	u64 *call = bpf_task_storage_get(&begun, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (call)
		*call = (u32)number + 1ull;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_begins, struct pt_regs *regs, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	cgroup_id_t id = task_cgroup_id(task);
	struct slot *slot = slot_of(id);
	bool has_slot = slot && slot->cgroup_id == id;

	struct target *target = has_slot ? NULL : bpf_map_lookup_elem(&targets, &id);

	if (!has_slot && (!target || !target->jobs))
		return 0;
	bool compat = call_is_compat();

	if (task->seccomp.mode == SECCOMP_MODE_FILTER)
		note_beginning(task, number);
	if (!has_slot || !has_place(number) || !has(&slot->done, compat, number))
		record(id, number, compat);
	return 0;
}

/* ---- the end of a call: one without a beginning was refused; switched on when it is needed ---- */

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->seccomp.mode != SECCOMP_MODE_FILTER)
		return 0;
	cgroup_id_t id = task_cgroup_id(task);
	s32 number = CALL_NUMBER(regs);
	u64 *call = bpf_task_storage_get(&begun, task, NULL, 0);

	if (!call && bpf_map_lookup_elem(&runs, &id)) {
		/* The beginning may have been before the programs were here, or the filter. */
		bpf_task_storage_get(&begun, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	}
	if (!call)
		return 0;
	u64 before = *call;

	*call = 0;
	if (!before && number >= 0 && is_error(result) && is_wanted(task->tgid))
		count_refusal(id, number, call_is_compat(), true);
	return 0;
}

/* ---- who comes into a cgroup, and becomes the workload by an exec ---- */

static __always_inline void mark(tgid_t tgid)
{
	u32 one = 1;

	if (bpf_map_update_elem(&starting, &tgid, &one, BPF_ANY))
		COUNT_NO_ROOM(starting);
}

static __always_inline bool is_recorded(cgroup_id_t id)
{
	return bpf_map_lookup_elem(&runs, &id);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(made, struct cgroup *cgroup, const char *path)
{
	cgroup_id_t id = cgroup->kn->id;

	if (cgroup->root->hierarchy_id != cgroup_hierarchy)
		return 0;
	cgroup_id_t above = cgroup->self.parent ? cgroup->self.parent->cgroup->kn->id : 0;
	struct run *run = open_run(id), *around = bpf_map_lookup_elem(&runs, &above);

	if (!run)
		return 0;
	run->whole = 1;
	if (around)
		run->began = around->began; /* a workload's own cgroup: nobody has to exec there */
	return 0;
}

/* Who moves itself, or is moved by one of the container's own, is no runtime's. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(joins, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	cgroup_id_t id = cgroup->kn->id;

	if (cgroup->root->hierarchy_id != cgroup_hierarchy || !find_run(id))
		return 0;
	if (!is_recorded(task_cgroup_id(bpf_get_current_task_btf())))
		mark(task->tgid);
	return 0;
}

/* A child may be born into another cgroup: clone3 with CLONE_INTO_CGROUP. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(forks, struct task_struct *parent, struct task_struct *child)
{
	tgid_t from = parent->tgid, to = child->tgid;
	cgroup_id_t outside = task_cgroup_id(parent), id = task_cgroup_id(child);
	u32 one = 1;

	if (from == to)
		return 0;
	if (by_process && bpf_map_lookup_elem(&processes, &from))
		bpf_map_update_elem(&processes, &to, &one, BPF_ANY);
	bool enters = outside != id && !is_recorded(outside) && find_run(id);

	if (enters || bpf_map_lookup_elem(&starting, &from))
		mark(to);
	else
		bpf_map_delete_elem(&starting, &to);
	return 0;
}

/* A runtime that execs a sealed copy of itself, as runc does, still has the mounts of who began it. */
static __always_inline bool is_runtime(struct task_struct *task)
{
	return !by_command && task->nsproxy->mnt_ns == task->real_parent->nsproxy->mnt_ns;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(execs, struct task_struct *task)
{
	cgroup_id_t id = task_cgroup_id(task);
	tgid_t tgid = task->tgid;
	struct run *run = bpf_map_lookup_elem(&runs, &id);

	if (!run || !is_starting(run, tgid) || is_runtime(task))
		return 0;
	bpf_map_delete_elem(&starting, &tgid);
#pragma unroll
	for (u32 i = 0; i < 2 * CALL_WORDS; i++)
		__sync_fetch_and_or(&run->started.words[i], run->tail.words[i]);
	__builtin_memset(&run->tail, 0, sizeof(run->tail));
	if (!run->began)
		run->began = bpf_ktime_get_boot_ns();
	return 0;
}

/* ---- capabilities ---- */

static __always_inline struct asked *find_asked(struct asked_key *key, s32 call)
{
	struct asked *found = bpf_map_lookup_elem(&asked, key);

	if (found)
		return found;
	struct asked fresh = {.call = call};

	bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
	bpf_map_update_elem(&asked, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&asked, key);
}

/* Only what the container itself holds, and not what comes with a user namespace of its own. */
static __always_inline void ask(const struct cred *cred, u32 capability, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	cgroup_id_t id = task_cgroup_id(task);
	struct run *run = bpf_map_lookup_elem(&runs, &id);

	if (!run || !is_own(cred) || !is_wanted(task->tgid))
		return;
	u64 level = cred->user_ns->level;
	s32 number = current_call();

	if (level > run->level || is_starting(run, task->tgid) ||
	    is_about_memory(capability, number))
		return;
	run->level = level;
	struct asked_key key = {.cgroup_id = id, .capability = capability};
	struct asked *found = find_asked(&key, number);

	if (!found) {
		COUNT_NO_ROOM(asked);
		return;
	}
	if (!__sync_fetch_and_add(result ? &found->denied : &found->granted, 1))
		note_caller(id, capability, false, result ? was_denied : was_granted);
}

SEC("tp_btf/cap_capable")
int BPF_PROG(capability_asked, const struct cred *cred, struct user_namespace *target,
	     const struct user_namespace *capable, int capability, int result)
{
	ask(cred, capability, result);
	return 0;
}

/* On kernels without the tracepoint. */
SEC("fexit/cap_capable")
int BPF_PROG(capability_answered, const struct cred *cred, struct user_namespace *target,
	     int capability, u32 options, int result)
{
	if (!(options & CAP_OPT_NOAUDIT))
		ask(cred, capability, result);
	return 0;
}
