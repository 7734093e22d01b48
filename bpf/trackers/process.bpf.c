// SPDX-License-Identifier: GPL-2.0
/* Programs that start (exec) and processes that end. */
#include "eunomia.h"

enum kind {
	kind_exec = 1,
	kind_exit = 2,
};

struct event {
	struct subject who;
	enum kind kind;
	tgid_t ppid;
	exit_code_t exit_code;
	signal_t signal;
	duration_t duration;
	path_t filename;
	args_t args;
};
enum { EVENT_TAIL = 2 * PATH_MAX };

#include "events.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool starts = true;
const volatile bool ends = true;
const volatile bool args = true;
const volatile s32 max_args = 1024;

SEC("tp_btf/sched_process_exec")
int BPF_PROG(started, struct task_struct *task, s32 old_tid, struct linux_binprm *program)
{
	struct match match = {};

	if (!starts || !match_current(&match) || !event_admit(&match))
		return 0;
	struct event *event = event_begin(&match);

	if (!event)
		return 0;
	event->kind = kind_exec;
	event->ppid = task->real_parent->tgid;
	event->exit_code = 0;
	event->signal = 0;
	event->duration = 0;
	event->filename = event_kernel_string(program->filename, PATH_MAX);
	event->args = 0;
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

	if (!ends || !match_current(&match) || !is_last_thread(arguments, task) ||
	    !event_admit(&match))
		return 0;
	struct event *event = event_begin(&match);

	if (!event)
		return 0;
	struct task_struct *leader = task->group_leader;
	/* As wait(2) would have it: kernel/exit.c, wait_task_zombie. */
	u32 status = task->signal->flags & SIGNAL_GROUP_EXIT ? task->signal->group_exit_code
							     : leader->exit_code;

	event->kind = kind_exit;
	event->ppid = leader->real_parent->tgid;
	event->exit_code = status >> 8 & 0xff;
	event->signal = status & 0x7f;
	event->duration = match.time - leader->start_boottime;
	event->filename = 0;
	event->args = 0;
	return event_send(&match);
}
