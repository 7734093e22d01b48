// SPDX-License-Identifier: GPL-2.0
/* Programs that start (exec) and processes that end; on request also programs that fail to start,
 * processes that are forked, and threads that end. */
#include "ancestors.h"

enum kind {
	kind_exec = 1,
	kind_exit = 2,
	kind_fork = 3,
	kind_thread = 4,
};

struct event {
	struct subject who;
	enum kind kind;
	tgid_t ppid;
	errno_t error;
	exit_code_t exit_code;
	signal_t signal;
	path_t filename;
	duration_t duration;
	args_t args;
	bool core_dumped;
	ANCESTOR_COLUMNS;
};
enum { EVENT_TAIL = 2 * PATH_MAX + ANCESTORS_TAIL };

#include "chain.h"
#include "event_ancestors.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool starts = true;
const volatile bool ends = true;
const volatile bool failed = false;
const volatile bool forks = false;
const volatile bool threads = false;
const volatile bool args = true;
const volatile s32 max_args = 1024;
const volatile bool ancestors = true;

WHERE(kind);
WHERE(ppid);
WHERE(error);
WHERE(exit_code);
WHERE(signal);

/* What an event's columns say that a condition can be about. */
struct facts {
	enum kind kind;
	tgid_t ppid;
	errno_t error;
	u32 status; /* as wait(2) gives it */
};

static __always_inline exit_code_t exit_code_of(u32 status)
{
	return status >> 8 & 0xff;
}

static __always_inline signal_t signal_of(u32 status)
{
	return status & 0x7f;
}

static __always_inline struct event *begin(struct match *match, const struct facts *facts)
{
	if (!within(&where_kind, facts->kind) || !within(&where_ppid, facts->ppid) ||
	    !within(&where_error, facts->error) ||
	    !within(&where_exit_code, exit_code_of(facts->status)) ||
	    !within(&where_signal, signal_of(facts->status)) || !event_admit(match))
		return NULL;
	struct event *event = event_begin(match);

	if (!event)
		return NULL;
	event->kind = facts->kind;
	event->ppid = facts->ppid;
	event->error = facts->error;
	event->exit_code = exit_code_of(facts->status);
	event->signal = signal_of(facts->status);
	event->core_dumped = facts->status & 0x80;
	event->duration = 0;
	event->filename = 0;
	event->args = 0;
	if (!ancestors)
		no_ancestors(event);
	else if (match->owner)
		event_ancestors_of(event, match->owner);
	else
		event_ancestors(event);
	return event;
}

static __always_inline u32 args_limit(void)
{
	return max_args > 0 && max_args < PATH_MAX ? max_args : PATH_MAX;
}

/* ---- programs that start ---- */

SEC("tp_btf/sched_process_exec")
int BPF_PROG(started, struct task_struct *task, s32 old_tid, struct linux_binprm *program)
{
	struct match match = {};

	if (!starts || !match_current(&match))
		return 0;
	struct facts facts = {.kind = kind_exec, .ppid = task->real_parent->tgid};
	struct event *event = begin(&match, &facts);

	if (!event)
		return 0;
	event->filename = event_kernel_string(program->filename, PATH_MAX);
	if (args) {
		u64 start = task->mm->arg_start, length = task->mm->arg_end - start;

		if (length > max_args)
			length = max_args;
		if (length > PATH_MAX)
			length = PATH_MAX;
		event->args = event_user_bytes((const void *)start, length);
	}
	return event_send(&match);
}

/* ---- programs that fail to start ---- */

/* Copies a vector of strings, each with its NUL, to the tail. Global: see lose_for_job, match.h. */
__weak u32 copy_args(u64 vector, bool narrow)
{
	struct scratch *slot = this_scratch();
	u32 copied = 0, limit = args_limit();

	if (!slot)
		return 0;
	u32 from = slot->tail_used, size = narrow ? 4 : 8;

	for (u32 i = 0; i < 64 && copied < limit; i++) {
		u64 text = 0;
		u32 room = limit - copied, at = from + copied;

		bpf_probe_read_user(&text, size, (const void *)(vector + i * size));
		if (!text || room > PATH_MAX || at > EVENT_TAIL)
			break;
		long length = bpf_probe_read_user_str(&slot->tail[at], room, (const void *)text);

		if (length < 0)
			break;
		copied += length ? length : 1; /* older kernels leave out the NUL of "" */
	}
	return tail_take(slot, copied);
}

#if defined(__TARGET_ARCH_x86)
enum number { call_execve = 59, call_execveat = 322 };
#else
enum number { call_execve = 221, call_execveat = 281 };
#endif

const volatile u8 chained_calls[CHAINED_CALLS] = {[call_execve] = true, [call_execveat] = true};

static __always_inline int call_ended(struct pt_regs *regs, s64 result)
{
	struct match match = {};

	if (!failed || result >= 0)
		return 0;
	s32 number = call_number(regs);

	if (!chained_calls[chained_call(number)] || !match_current(&match))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct facts facts = {
		.kind = kind_exec, .ppid = task->real_parent->tgid, .error = -result};
	struct event *event = begin(&match, &facts);

	if (!event)
		return 0;
	struct call_arguments call;
	u32 path = number == call_execveat;

	call_arguments(&call, regs);
	event->filename = event_user_string((const void *)call.of[path], PATH_MAX);
	if (args)
		event->args = copy_args(call.of[path + 1], call_is_narrow(regs));
	return event_send(&match);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	call_ended(regs, result);
	return chain_go_on(ctx, call_number(regs));
}

/* ---- processes that are forked ---- */

/* The event is the child's. Its parent is the current task, and either may be the one wanted. */
SEC("tp_btf/task_newtask")
int BPF_PROG(forked, struct task_struct *child)
{
	struct match match = {};

	if (!forks || child->pid != child->tgid)
		return 0;
	struct owner owner = {
		.cgroup_id = task_cgroup_id(child),
		.start_time = child->start_boottime,
		.pid = child->tgid,
		.tid = child->pid,
		.uid = bpf_get_current_uid_gid(),
	};

	bpf_get_current_comm(owner.comm, sizeof(owner.comm));
	if (!match_cgroup(&match, owner.cgroup_id))
		return 0;
	if (!current_wanted() && !match_owner(&match, &owner))
		return 0;
	match.owner = &owner;
	struct facts facts = {
		.kind = kind_fork, .ppid = child->real_parent->tgid};
	struct event *event = begin(&match, &facts);

	return event ? event_send(&match) : 0;
}

/* ---- processes and threads that end ---- */

/* Where the tracepoint has this argument, it tells whether this was the last thread. */
typedef void (*btf_trace_sched_process_exit___tells)(void *, struct task_struct *, bool);

/* Where it has not, several threads that end at the same time all find that nobody is left alive:
 * the first of them is taken for the last. */
struct process {
	boot_ns_t start_time;
	tgid_t pid;
	u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct process);
	__type(value, u8);
} ended_lately SEC(".maps");

static __always_inline bool is_last_thread(u64 *arguments, const struct task_struct *task)
{
	if (bpf_core_type_exists(btf_trace_sched_process_exit___tells))
		return arguments[1] & 0xff;
	if (task->signal->live.counter != 0)
		return false;
	struct process process = {.start_time = task->group_leader->start_boottime,
				  .pid = task->tgid};
	u8 yes = 1;

	return !bpf_map_update_elem(&ended_lately, &process, &yes, BPF_NOEXIST);
}

/* include/linux/sched/signal.h */
enum { SIGNAL_GROUP_EXIT = 4 };

SEC("tp_btf/sched_process_exit")
int ended(u64 *arguments)
{
	struct task_struct *task = (struct task_struct *)arguments[0];
	struct match match = {};

	if ((!ends && !threads) || !match_current(&match))
		return 0;
	bool last = is_last_thread(arguments, task);

	if (last ? !ends : !threads)
		return 0;
	struct task_struct *leader = task->group_leader, *which = last ? leader : task;
	struct facts facts = {
		.kind = last ? kind_exit : kind_thread,
		.ppid = leader->real_parent->tgid,
		/* As wait(2) would have it: kernel/exit.c, wait_task_zombie. */
		.status = task->signal->flags & SIGNAL_GROUP_EXIT ? task->signal->group_exit_code
								  : which->exit_code,
	};
	struct event *event = begin(&match, &facts);

	if (!event)
		return 0;
	event->duration = match.time - which->start_boottime;
	return event_send(&match);
}
