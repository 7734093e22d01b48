// SPDX-License-Identifier: GPL-2.0
/* Who talks to whom on one machine: signals, unix sockets, pipes, message queues, semaphores and
 * shared memory.
 *
 * What happens now and then is an event; what may happen at any rate, reads, writes, messages and
 * operations, is counted by process and object. Only the end of each call is hooked. A call that
 * may be for any file is looked up by its descriptor then, and left as soon as that is neither a
 * pipe nor a unix socket, before it is asked whose it is.
 */
#include "ancestors.h"
#include "socket.h"
#include "tally.h"

enum kind {
	kind_signal = 1,
	kind_unix = 2,
	kind_pipe = 3,
	kind_queue = 4, /* of System V, as are the next two */
	kind_semaphore = 5,
	kind_memory = 6,
	kind_mqueue = 7, /* of POSIX */
};
enum action {
	action_send = 1,
	action_receive = 2,
	action_connect = 3,
	action_accept = 4,
	action_create = 5,
	action_open = 6,
	action_attach = 7,
	action_remove = 8,
};
/* include/trace/events/signal.h: TRACE_SIGNAL_* */
enum result {
	result_delivered = 0,
	result_ignored = 1,
	result_pending = 2,
	result_overflow = 3,
	result_shortened = 4,
};

struct event {
	struct subject who;
	enum kind kind;
	enum action action;
	errno_t error;
	tgid_t tpid;
	comm_t tcomm;
	ANCESTOR_COLUMNS;
	union {
		struct {
			signal_t signal;
			enum result result;
		} signal;
		struct {
			u64 object;
			path_t path;
		} unix, mqueue;
		struct {
			u64 object;
		} pipe;
		struct {
			u64 object;
			u32 pad;
			ipc_key_t key;
		} queue, semaphore;
		struct {
			u64 object;
			u32 pad;
			ipc_key_t key;
			bytes_t bytes;
		} memory;
	};
};
enum { EVENT_TAIL = 264 + ANCESTORS_TAIL };

struct count_key {
	struct tallied who;
	u64 object;
	enum kind kind;
	tgid_t pid;
	tgid_t tpid;
	u32 pad;
};
struct count_value {
	u64 count;
	u64 reads;
	u64 writes;
	bytes_t read_bytes;
	bytes_t write_bytes;
	comm_t comm;
	comm_t tcomm;
};
enum { MAX_COUNTS = 10240 };

#include "chain.h"
#include "counts.h"
#include "event_ancestors.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool signals = true;
const volatile bool unix_sockets = true;
const volatile bool pipes = true;
const volatile bool queues = true;
const volatile bool semaphores = true;
const volatile bool shared_memory = true;
const volatile bool traffic = true;
const volatile bool ancestors = true;

WHERE(kind);
WHERE(action);
WHERE(error);
WHERE(signal);
WHERE(tpid);
WHERE(object);

/* ---- events ---- */

struct report {
	struct owner owner; /* whose it is; no cgroup: the current task's */
	enum kind kind;
	enum action action;
	errno_t error;
	tgid_t tpid;
	comm_t tcomm;
	u64 object;
	bytes_t bytes;
	ipc_key_t key;
	signal_t signal;
	enum result result;
	u32 name_length; /* 0: to its NUL, from user space */
	u64 name;	 /* its address */
	bool name_in_kernel;
};

enum { MAX_NAME = 257, MAX_SUN_PATH = 108 }; /* a queue's: a slash, 255 bytes, NUL */

/* The name of a unix socket, which may be an abstract one: that begins with a NUL, shown as "@". */
static __always_inline path_t event_socket_name(const struct report *report)
{
	struct scratch *slot = this_scratch();
	const void *from = (const void *)report->name;
	u8 *to = slot ? tail_free(slot, MAX_NAME) : NULL;
	u32 length = report->name_length;
	s64 failed;

	if (!to || !length || length > MAX_SUN_PATH)
		return 0;
	length = AT_MOST(length, MAX_SUN_PATH);
	failed = report->name_in_kernel ? bpf_probe_read_kernel(to, length, from)
					: bpf_probe_read_user(to, length, from);
	if (failed)
		return 0;
	if (!to[0]) {
		to[0] = '@';
		return tail_take(slot, length);
	}
	to[length] = 0;
	length = bpf_probe_read_kernel_str(to, MAX_NAME, to);
	return tail_take(slot, length - 1);
}

static __always_inline bool is_wanted(const struct report *report)
{
	return within(&where_kind, report->kind) && within(&where_action, report->action) &&
	       within(&where_error, report->error) && within(&where_tpid, report->tpid) &&
	       (report->kind == kind_signal ? within(&where_signal, report->signal)
					    : within(&where_object, report->object));
}

/* Sends it, if it is wanted, and says whether it was. Global: see lose_for_first in match.h. */
__weak int tell(const struct report *report)
{
	struct match match = {};

	if (!report || !is_wanted(report))
		return 0;
	if (!(report->owner.cgroup_id ? match_owner(&match, &report->owner)
				      : match_current(&match)))
		return 0;
	if (!event_admit(&match))
		return true;
	struct event *event = event_begin(&match);

	if (!event)
		return true;
	event->kind = report->kind;
	event->action = report->action;
	event->error = report->error;
	event->tpid = report->tpid;
	__builtin_memcpy(event->tcomm, report->tcomm, sizeof(event->tcomm));
	event->memory.object = report->object;
	event->memory.pad = 0;
	event->memory.key = report->key;
	event->memory.bytes = report->bytes;
	if (report->kind == kind_signal) {
		event->signal.signal = report->signal;
		event->signal.result = report->result;
	} else if (report->kind == kind_unix) {
		event->unix.path = event_socket_name(report);
	} else if (report->kind == kind_mqueue) {
		event->mqueue.path = event_user_string((const void *)report->name, MAX_NAME);
	}
	if (!ancestors)
		no_ancestors(event);
	else if (report->owner.cgroup_id)
		event_ancestors_of(event, &report->owner);
	else
		event_ancestors(event);
	event_send(&match);
	return true;
}

/* ---- signals ---- */

/* include/linux/sched/signal.h; include/uapi/asm-generic/siginfo.h */
enum { SEND_SIG_PRIV = 1 };
enum { SI_TIMER = -2, SI_SIGIO = -5 };
enum { SIGCHLD = 17 };

/* Whether the current task is in one of the system calls that leave it to their caller which code a
 * signal has: rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_send_signal. */
static __always_inline bool is_code_given(void)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());

#if defined(__TARGET_ARCH_x86)
	s32 number = call_number(regs);

	return number == 129 || number == 297 || number == 424;
#else
	s32 number = CALL_NUMBER(regs);

	if (call_is_compat())
		return number == 178 || number == 363 || number == 424;
	return number == 138 || number == 240 || number == 424;
#endif
}

/* Whether the current task sent it. The kernel itself does for timers, faults and the like, and then
 * the current task may be anyone. */
static __always_inline bool is_from_current(u64 info, s32 signal)
{
	s32 code;

	if (info == SEND_SIG_PRIV)
		return false;
	code = BPF_CORE_READ((struct kernel_siginfo *)info, si_code);
	if (code > 0 ? signal == SIGCHLD : code < SI_SIGIO || code > SI_TIMER)
		return true;
	return is_code_given();
}

static __always_inline void owner_of_task(struct owner *owner, struct task_struct *task)
{
	owner->cgroup_id = task_cgroup_id(task);
	owner->start_time = task->group_leader->start_boottime;
	owner->pid = task->tgid;
	owner->tid = task->pid;
	owner->uid = task->cred->uid.val;
	__builtin_memcpy(owner->comm, task->comm, sizeof(owner->comm));
}

/* A signal between two cgroups is told to both; one within a cgroup once, as its sender's or, where
 * only the other end is asked for, as its receiver's. */
SEC("tp_btf/signal_generate")
int signal_sent(u64 *arguments)
{
	s32 signal = arguments[0];
	struct task_struct *to = (struct task_struct *)arguments[2];
	struct task_struct *from = bpf_get_current_task_btf();
	struct report report = {.kind = kind_signal, .signal = signal, .result = arguments[4]};
	bool by_task = is_from_current(arguments[1], signal);

	if (!signals)
		return 0;
	if (by_task) {
		report.action = action_send;
		report.tpid = to->tgid;
		__builtin_memcpy(report.tcomm, to->comm, sizeof(report.tcomm));
		if (tell(&report) && task_cgroup_id(from) == task_cgroup_id(to))
			return 0;
		report.tpid = from->tgid;
		bpf_get_current_comm(report.tcomm, sizeof(report.tcomm));
	}
	report.action = action_receive;
	owner_of_task(&report.owner, to);
	tell(&report);
	return 0;
}

/* ---- system calls ---- */

#if defined(__TARGET_ARCH_x86)
enum number {
	call_read = 0, call_write = 1, call_readv = 19, call_writev = 20, call_pipe = 22,
	call_shmget = 29, call_shmat = 30, call_shmctl = 31, call_connect = 42, call_accept = 43,
	call_sendto = 44, call_recvfrom = 45, call_sendmsg = 46, call_recvmsg = 47,
	call_socketpair = 53, call_semget = 64, call_semop = 65, call_semctl = 66,
	call_msgget = 68, call_msgsnd = 69, call_msgrcv = 70, call_msgctl = 71,
	call_semtimedop = 220, call_mq_open = 240, call_mq_unlink = 241,
	call_mq_timedsend = 242, call_mq_timedreceive = 243, call_accept4 = 288,
	call_pipe2 = 293,
};
#else
enum number {
	call_pipe2 = 59, call_read = 63, call_write = 64, call_readv = 65, call_writev = 66,
	call_mq_open = 180, call_mq_unlink = 181, call_mq_timedsend = 182,
	call_mq_timedreceive = 183, call_msgget = 186, call_msgctl = 187, call_msgrcv = 188,
	call_msgsnd = 189, call_semget = 190, call_semctl = 191, call_semtimedop = 192,
	call_semop = 193, call_shmget = 194, call_shmctl = 195, call_shmat = 196,
	call_socketpair = 199, call_accept = 202, call_connect = 203, call_sendto = 206,
	call_recvfrom = 207, call_sendmsg = 211, call_recvmsg = 212, call_accept4 = 242,
	call_pipe = -1, /* is not there */
};
#endif

/* What a call may be about; none: it is of no interest. */
enum topic {
	topic_none,
	topic_read, /* of any file */
	topic_write,
	topic_receive, /* of a socket */
	topic_send,
	topic_operate, /* on an object of System V or a POSIX queue */
	topic_connect,
	topic_accept,
	topic_other,
};

const volatile u8 chained_calls[CHAINED_CALLS] = {
	[call_connect] = topic_connect,
	[call_accept] = topic_accept,
	[call_accept4] = topic_accept,
#if defined(__TARGET_ARCH_x86)
	[call_pipe] = topic_other,
#endif
	[call_pipe2] = topic_other,
	[call_socketpair] = topic_other,
	[call_msgget] = topic_other,
	[call_semget] = topic_other,
	[call_shmget] = topic_other,
	[call_shmat] = topic_other,
	[call_msgctl] = topic_other,
	[call_semctl] = topic_other,
	[call_shmctl] = topic_other,
	[call_mq_open] = topic_other,
	[call_mq_unlink] = topic_other,
};
const volatile u8 chained_calls_traffic[CHAINED_CALLS] = {
	[call_read] = topic_read,
	[call_readv] = topic_read,
	[call_write] = topic_write,
	[call_writev] = topic_write,
	[call_recvfrom] = topic_receive,
	[call_recvmsg] = topic_receive,
	[call_sendto] = topic_send,
	[call_sendmsg] = topic_send,
	[call_msgsnd] = topic_operate,
	[call_msgrcv] = topic_operate,
	[call_semop] = topic_operate,
	[call_semtimedop] = topic_operate,
	[call_mq_timedsend] = topic_operate,
	[call_mq_timedreceive] = topic_operate,
};

static __always_inline enum topic topic_of(s32 number)
{
	u32 at = chained_call(number);

	return chained_calls[at] ?: traffic ? chained_calls_traffic[at] : topic_none;
}

/* ---- traffic ---- */

/* The process that made the other end of a unix socket, as getsockopt(SO_PEERCRED) tells: that
 * listens, connected, or called socketpair. 0: not known. */
static __always_inline struct pid *peer_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_peer_pid);
}

static __always_inline tgid_t pid_number(struct pid *pid)
{
	return pid ? BPF_CORE_READ(pid, numbers[0].nr) : 0;
}

/* Leaves it as it is when no such process is alive. */
static __always_inline void pid_comm(comm_t to, struct pid *pid)
{
	struct hlist_node *node = pid ? BPF_CORE_READ(pid, tasks[PIDTYPE_TGID].first) : NULL;

	if (!node)
		return;
	struct task_struct *task =
		(void *)node - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_TGID]);

	BPF_CORE_READ_INTO((comm_t *)to, task, comm);
}

static __always_inline int add(const struct match *match, struct count_key *key, struct pid *peer,
			       bool reads, bool writes, u64 bytes)
{
	if (!within(&where_kind, key->kind) || !within(&where_object, key->object) ||
	    !within(&where_tpid, key->tpid))
		return 0;
	struct count_value *value = count_find(match, key);

	if (!value) {
		struct count_value fresh = {};

		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
		pid_comm(fresh.tcomm, peer);
		value = count_open(match, key, &fresh);
	}
	if (!value)
		return 0;
	count_one(value);
	if (reads) {
		__sync_fetch_and_add(&value->reads, 1);
		__sync_fetch_and_add(&value->read_bytes, bytes);
	}
	if (writes) {
		__sync_fetch_and_add(&value->writes, 1);
		__sync_fetch_and_add(&value->write_bytes, bytes);
	}
	return 0;
}

static __always_inline int add_file(const struct match *match, u32 fd, enum topic topic, u64 bytes)
{
	bool writes = topic == topic_write || topic == topic_send;
	const struct file *file = file_of(fd);
	u32 type = file_type(file);
	struct count_key key = {};
	struct pid *peer = NULL;

	if (type == S_IFSOCK && unix_sockets) {
		struct sock *sk = socket_of_file(file);

		if (socket_family(sk) != AF_UNIX)
			return 0;
		key.kind = kind_unix;
		peer = peer_of(sk);
		key.tpid = pid_number(peer);
	} else if (type == S_IFIFO && pipes) {
		key.kind = kind_pipe;
	} else {
		return 0;
	}
	key.object = BPF_CORE_READ(file, f_inode, i_ino);
	key.pid = bpf_get_current_pid_tgid() >> 32;
	return add(match, &key, peer, !writes, writes, bytes);
}

static __always_inline u64 inode_of_descriptor(u32 fd)
{
	return BPF_CORE_READ(file_of(fd), f_inode, i_ino);
}

static __always_inline int add_operation(const struct match *match, const u64 *of, s32 number,
					 u64 result)
{
	u32 id = of[0];
	bool writes = number == call_msgsnd || number == call_mq_timedsend;
	struct count_key key = {.object = id, .kind = kind_queue};

	if (number == call_semop || number == call_semtimedop) {
		key.kind = kind_semaphore;
	} else if (number == call_mq_timedsend || number == call_mq_timedreceive) {
		key.kind = kind_mqueue;
		key.object = inode_of_descriptor(id);
	}
	if (!(key.kind == kind_semaphore ? semaphores : queues))
		return 0;
	key.pid = bpf_get_current_pid_tgid() >> 32;
	return add(match, &key, NULL, !writes && key.kind != kind_semaphore, writes,
		   writes ? of[2] : result);
}

/* ---- what is made, opened, attached to and removed ---- */

static __always_inline bool unix_end(struct report *report, u32 fd)
{
	const struct file *file = file_of(fd);
	struct sock *sk = socket_of_descriptor(fd);

	if (!sk || socket_family(sk) != AF_UNIX)
		return false;
	struct pid *peer = peer_of(sk);

	report->kind = kind_unix;
	report->object = BPF_CORE_READ(file, f_inode, i_ino);
	report->tpid = pid_number(peer);
	pid_comm(report->tcomm, peer);
	return unix_sockets;
}

/* A socket that was accepted has the name of the one that listens. */
static __always_inline void name_of_socket(struct report *report, struct unix_sock *sk)
{
	struct unix_address *address = BPF_CORE_READ(sk, addr);

	report->name_in_kernel = true;
	if (!address)
		return;
	report->name_length = BPF_CORE_READ(address, len) - sizeof(u16);
	report->name = (u64)address->name[0].sun_path;
}

/* What the caller's memory holds by now may be another name than the call was for: it is taken only
 * where nothing was connected to. */
static __always_inline bool connected(struct report *report, const u64 *of)
{
	u32 fd = of[0];

	if (!unix_end(report, fd))
		return false;
	report->action = action_connect;
	if (report->error) {
		report->name = of[1] + sizeof(u16);
		report->name_length = (u32)of[2] - sizeof(u16);
	} else {
		struct unix_sock *sk = (struct unix_sock *)socket_of_descriptor(fd);

		name_of_socket(report, (struct unix_sock *)BPF_CORE_READ(sk, peer));
	}
	return true;
}

static __always_inline bool accepted(struct report *report, s64 fd)
{
	struct unix_sock *sk = fd < 0 ? NULL : (struct unix_sock *)socket_of_descriptor(fd);

	if (!sk || !unix_end(report, fd))
		return false;
	report->action = action_accept;
	name_of_socket(report, sk);
	return true;
}

/* A pair of descriptors that a call has written to user space; the first one's inode. */
static __always_inline u64 first_of_pair(u64 pair)
{
	u32 fd = ~0;

	bpf_probe_read_user(&fd, sizeof(fd), (const void *)pair);
	return inode_of_descriptor(fd);
}

static __always_inline bool pipe_made(struct report *report, const u64 *of)
{
	report->kind = kind_pipe;
	report->action = action_create;
	if (!report->error)
		report->object = first_of_pair(of[0]);
	return pipes;
}

static __always_inline bool pair_made(struct report *report, const u64 *of)
{
	report->kind = kind_unix;
	report->action = action_create;
	if (!report->error)
		report->object = first_of_pair(of[3]);
	return unix_sockets && (u32)of[0] == AF_UNIX;
}

static __always_inline bool kind_wanted(enum kind kind)
{
	return kind == kind_semaphore ? semaphores : kind == kind_memory ? shared_memory : queues;
}

static __always_inline bool opened(struct report *report, const u64 *of, enum kind kind, s64 id)
{
	report->kind = kind;
	report->action = action_open;
	report->key = of[0];
	if (!report->error)
		report->object = (u32)id;
	if (kind == kind_memory)
		report->bytes = of[1];
	return kind_wanted(kind);
}

static __always_inline bool attached(struct report *report, const u64 *of)
{
	report->kind = kind_memory;
	report->action = action_attach;
	report->object = (u32)of[0];
	return shared_memory;
}

static __always_inline bool controlled(struct report *report, const u64 *of, enum kind kind)
{
	enum { IPC_RMID = 0, IPC_64 = 0x100 }; /* include/uapi/linux/ipc.h, ipc/util.h */
	u32 command = kind == kind_semaphore ? of[2] : of[1];

	report->kind = kind;
	report->action = action_remove;
	report->object = (u32)of[0];
	return (command & ~IPC_64) == IPC_RMID && kind_wanted(kind);
}

static __always_inline bool mqueue_named(struct report *report, const u64 *of, enum action action,
					 s64 fd)
{
	report->kind = kind_mqueue;
	report->action = action;
	report->name = of[0];
	if (action == action_open && !report->error)
		report->object = inode_of_descriptor(fd);
	return queues;
}

static __always_inline bool other_call(struct report *report, const u64 *of, s32 number,
				       s64 result)
{
	switch (number) {
	case call_pipe:
	case call_pipe2:
		return pipe_made(report, of);
	case call_socketpair:
		return pair_made(report, of);
	case call_connect:
		return connected(report, of);
	case call_accept:
	case call_accept4:
		return accepted(report, result);
	case call_msgget:
		return opened(report, of, kind_queue, result);
	case call_semget:
		return opened(report, of, kind_semaphore, result);
	case call_shmget:
		return opened(report, of, kind_memory, result);
	case call_shmat:
		return attached(report, of);
	case call_msgctl:
		return controlled(report, of, kind_queue);
	case call_semctl:
		return controlled(report, of, kind_semaphore);
	case call_shmctl:
		return controlled(report, of, kind_memory);
	case call_mq_open:
		return mqueue_named(report, of, action_open, result);
	case call_mq_unlink:
		return mqueue_named(report, of, action_remove, result);
	}
	return false;
}

/* Whether a call was for what talks to another process of this machine. Where memory is read without
 * calls this costs less than to ask whose the task is, and most calls are for something else. */
static __noinline bool is_of_interest(enum topic topic, u32 fd)
{
	const struct file *file;
	u32 type;

	if (topic == topic_operate || topic == topic_other)
		return true;
	file = file_of(fd);
	type = file_type(file);
	if (type == S_IFSOCK)
		return unix_sockets && socket_family(socket_of_file(file)) == AF_UNIX;
	return type == S_IFIFO && pipes && (topic == topic_read || topic == topic_write);
}

/* These are global, with stacks of their own: see lose_for_first in match.h. */
__weak int count_call(const struct call_arguments *call, s32 number, s64 result)
{
	enum topic topic = topic_of(number);
	struct match match = {};

	if (!call || !match_current(&match))
		return 0;
	return topic == topic_operate ? add_operation(&match, call->of, number, result)
				      : add_file(&match, call->of[0], topic, result);
}

__weak int describe_call(struct report *report, const struct call_arguments *call, s32 number,
			 s64 result)
{
	struct match match = {};

	return report && call && match_current(&match) &&
	       other_call(report, call->of, number, result);
}

__weak int tell_of_call(const struct call_arguments *call, s32 number, s64 result)
{
	struct report report = {.error = is_error(result) ? -result : 0};

	if (describe_call(&report, call, number, result))
		tell(&report);
	return 0;
}

static __always_inline void call_ended(struct pt_regs *regs, s64 result)
{
	s32 number = call_number(regs);
	enum topic topic = topic_of(number);
	struct call_arguments call;

	if (!topic || (topic <= topic_operate && result < 0))
		return;
	call_arguments_meant(&call, regs);
	if (can_cast() && !is_of_interest(topic, topic == topic_accept ? result : call.of[0]))
		return;
	if (topic <= topic_operate)
		count_call(&call, number, result);
	else
		tell_of_call(&call, number, result);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	call_ended(regs, result);
	return chain_go_on(ctx, call_number(regs));
}
