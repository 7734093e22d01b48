// SPDX-License-Identifier: GPL-2.0
/* Programs that start, told by what the kernel runs and not by what it was asked to run: which file
 * that is, whether it has a name and since when it is there, what the program reads and writes, and
 * who began it.
 */
#include "lineage.h"
#include "namespace.h"

/* What stands behind a descriptor. */
enum stream {
	stream_none = 0,
	stream_file = 1,
	stream_pipe = 2,
	stream_socket = 3,
	stream_tty = 4,
	stream_device = 5,
	stream_other = 6,
};
struct event {
	struct subject who;
	LINEAGE_COLUMNS;
	path_t parent_exe;
	path_t path;
	path_t filename;
	string_t interpreter;
	path_t cwd;
	args_t args;
	string_t preload;
	uid_t euid;
	enum namespace_flags host_namespaces;
	duration_t age;
	ip_t remote;
	port_t remote_port;
	u16 pad;
	enum stream stdin;
	enum stream stdout;
	enum stream stderr;
	bool memfd;
	bool deleted;
	bool upper;
	bool setuid;
	bool tty;
	bool namespaces_changed;
	bool runtime;
	bool parent_exe_in_image;
};
/* All variables of the environment are read into the tail; the one that is kept is no longer. */
enum { MAX_VARIABLE = 1024 };
enum { EVENT_TAIL = 2 * PATH_MAX + 4 * FILE_PATH + MAX_VARIABLE + LINEAGE_TAIL };

#include "deny_path.h"
#include "event_lineage.h"
#include "filter.h"
#include "layer.h"
#include "match_path.h"
#include "runtime.h"
#include "socket.h"
#include "syscall.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool args = true;
const volatile s32 max_args = 1024;

WHERE(ppid);
WHERE(euid);
WHERE(age);
WHERE(remote_port);
WHERE(stdin);
WHERE(stdout);
WHERE(stderr);
WHERE(memfd);
WHERE(deleted);
WHERE(upper);
WHERE(setuid);
WHERE(tty);
WHERE(namespaces_changed);
WHERE(runtime);
WHERE_PATH(path);

/* What an event's columns say that needs no string. */
struct facts {
	u64 file; /* its address: the verifier takes no pointer for a number that is passed on */
	duration_t age;
	ip_t remote __attribute__((aligned(8)));
	port_t remote_port;
	enum stream streams[3];
	enum namespace_flags host_namespaces;
	uid_t euid;
	bool memfd, deleted, upper, setuid, tty, namespaces_changed, runtime;
};

/* ---- the file ---- */

/* A file in memory that never had a place in a tree of directories: its name is of no account. */
static __always_inline bool is_memfd(const struct file *file, u64 magic)
{
	const struct vfsmount *mount = READ(struct file, file, f_path.mnt);
	const struct dentry *dentry = READ(struct file, file, f_path.dentry);

	return is_in_memory(magic) && dentry == READ(struct dentry, dentry, d_parent) &&
	       dentry != READ(struct vfsmount, mount, mnt_root);
}

enum { SECOND = 1000000000 };

static __always_inline s64 changed_at(const struct inode *inode)
{
	enum { QUERIED = 1 << 31 }; /* include/linux/fs.h: I_CTIME_QUERIED */
	const struct inode___6_6 *until_6_10 = (const void *)inode;
	const struct inode___6_5 *until_6_5 = (const void *)inode;

	if (bpf_core_field_exists(struct inode, i_ctime_sec))
		return READ(struct inode, inode, i_ctime_sec) * SECOND +
		       (READ(struct inode, inode, i_ctime_nsec) & ~(u32)QUERIED);
	if (bpf_core_field_exists(struct inode___6_6, __i_ctime))
		return BPF_CORE_READ(until_6_10, __i_ctime.tv_sec) * SECOND +
		       BPF_CORE_READ(until_6_10, __i_ctime.tv_nsec);
	return BPF_CORE_READ(until_6_5, i_ctime.tv_sec) * SECOND +
	       BPF_CORE_READ(until_6_5, i_ctime.tv_nsec);
}

/* The time of day, which has no helper. Each process has a timer, and how far the clocks of timers
 * are ahead of the one that never jumps is noted beside that (kernel/time/hrtimer.c). */
static __always_inline s64 time_of_day(const struct task_struct *task)
{
	const struct hrtimer_cpu_base *clocks = task->signal->real_timer.base->cpu_base;

	return bpf_ktime_get_ns() + clocks->clock_base[HRTIMER_BASE_REALTIME].offset;
}

__weak int facts_of_file(struct facts *facts)
{
	const struct task_struct *task = bpf_get_current_task_btf();

	if (!facts)
		return 0;
	const struct file *file = (const void *)facts->file;
	const struct inode *inode = READ(struct file, file, f_inode);
	u64 magic = magic_of(inode);
	s64 age = time_of_day(task) - changed_at(inode);

	facts->memfd = is_memfd(file, magic);
	facts->deleted = !READ(struct inode, inode, i_nlink);
	facts->upper = is_upper(inode, magic);
	facts->age = age > 0 ? age : 0;
	return 0;
}

/* ---- what it reads and writes ---- */

/* Documentation/admin-guide/devices.txt: consoles and virtual terminals, /dev/tty, serial lines of two
 * kinds, and what terminal emulators and container runtimes open. */
static __always_inline bool is_terminal(u32 device)
{
	enum { TTY = 4, TTY_AUX = 5, PTS = 136, PTS_LAST = 143, USB = 188, LOW_DENSITY = 204 };
	u32 major = device >> 20;

	return major == TTY || major == TTY_AUX || (major >= PTS && major <= PTS_LAST) ||
	       major == USB || major == LOW_DENSITY;
}

/* Global, as are others below: see lose_for_first in match.h. */
__weak u32 stream_of(u32 fd)
{
	enum { S_IFCHR = 0020000, S_IFBLK = 0060000 };
	const struct file *file = file_of(fd);
	const struct inode *inode = READ(struct file, file, f_inode);

	if (!file)
		return stream_none;
	switch (file_type(file)) {
	case S_IFREG:
		return stream_file;
	case S_IFIFO:
		return stream_pipe;
	case S_IFSOCK:
		return stream_socket;
	case S_IFCHR:
		return is_terminal(READ(struct inode, inode, i_rdev)) ? stream_tty : stream_device;
	case S_IFBLK:
		return stream_device;
	}
	return stream_other;
}

/* The other end of a socket, if that has one on a network. */
__weak int remote_of(struct facts *facts, u32 fd)
{
	struct sock *sk = socket_of_descriptor(fd);

	if (!facts || !sk)
		return 0;
	u16 family = socket_family(sk);
	port_t port = bpf_ntohs(READ(struct sock, sk, __sk_common.skc_dport));

	if (!port)
		return 0;
	if (family == AF_INET)
		map_to_v6(facts->remote, READ(struct sock, sk, __sk_common.skc_daddr));
	else if (family == AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr))
		BPF_CORE_READ_INTO(&facts->remote, sk, __sk_common.skc_v6_daddr);
	else
		return 0;
	facts->remote_port = port;
	return 0;
}

/* closing: the descriptors that the program will not have any more. */
static __always_inline void facts_of_streams(struct facts *facts, u64 closing)
{
#pragma unroll
	for (u32 fd = 0; fd < 3; fd++) {
		facts->streams[fd] = closing >> fd & 1 ? stream_none : stream_of(fd);
		if (facts->streams[fd] == stream_socket && !facts->remote_port)
			remote_of(facts, fd);
	}
}

/* ---- where it runs ---- */

/* The namespaces that the current task has in common with its parent, or with the host. */
__weak u32 in_common(bool with_host)
{
	const struct task_struct *task = bpf_get_current_task_btf();
	const struct task_struct *other = with_host ? host_task() : task->real_parent;
	struct namespaces its, others;
	u32 found = 0;

	namespaces_of(&its, task);
	namespaces_of(&others, other);
#pragma unroll
	for (u32 i = 0; i < NAMESPACES; i++)
		found |= are_same(its.of[i], others.of[i]) << i;
	return found;
}

static __always_inline bool is_wanted(const struct facts *facts, const struct task_struct *task)
{
	return within(&where_ppid, task->real_parent->tgid) &&
	       within(&where_euid, facts->euid) && within(&where_age, facts->age) &&
	       within(&where_remote_port, facts->remote_port) &&
	       within(&where_stdin, facts->streams[0]) &&
	       within(&where_stdout, facts->streams[1]) &&
	       within(&where_stderr, facts->streams[2]) && within(&where_memfd, facts->memfd) &&
	       within(&where_deleted, facts->deleted) && within(&where_upper, facts->upper) &&
	       within(&where_setuid, facts->setuid) && within(&where_tty, facts->tty) &&
	       within(&where_namespaces_changed, facts->namespaces_changed) &&
	       within(&where_runtime, facts->runtime);
}

/* ---- the environment ---- */

enum { MAX_PIECES = 1024 };

/* What looks for the variables by which the dynamic linker takes more into a program. */
struct search {
	u64 at, end;
	string_t found;
	bool inside; /* of a variable that is longer than what is read at once */
};

static __always_inline u32 is_named(const u8 *variable, const char *name, u32 length)
{
#pragma unroll
	for (u32 i = 0; i < length; i++)
		if (variable[i] != name[i])
			return 0;
	return length;
}

static __always_inline u32 name_length(const u8 *variable)
{
	return is_named(variable, "LD_PRELOAD=", 11) ?: is_named(variable, "LD_AUDIT=", 9);
}

static long search_piece(u32 turn, struct search *search)
{
	struct scratch *slot = this_scratch();
	u8 *to = slot ? tail_free(slot, MAX_VARIABLE) : NULL;

	if (!to || search->at >= search->end)
		return 1;
	s64 length = bpf_probe_read_user_str(to, MAX_VARIABLE, (const void *)search->at);

	if (length < 0 || length > MAX_VARIABLE)
		return 1;
	u32 name = search->inside ? 0 : name_length(to);

	if (name && length - 1 > name) {
		string_t whole = tail_take(slot, length - 1);

		search->found = whole + name - (name << 16);
		return 1;
	}
	search->inside = length == MAX_VARIABLE;
	search->at += search->inside ? length - 1 : length ? length : 1;
	return 0;
}

static __always_inline string_t event_preload(const struct mm_struct *mm)
{
	struct search search = {.at = mm->env_start, .end = mm->env_end};

	bpf_loop(MAX_PIECES, search_piece, &search, 0);
	return search.found;
}

/* ---- rows ---- */

static __always_inline args_t event_args(const struct mm_struct *mm)
{
	u64 start = mm->arg_start, length = mm->arg_end - start;

	if (!args)
		return 0;
	if (length > max_args)
		length = max_args;
	if (length > PATH_MAX)
		length = PATH_MAX;
	return event_user_bytes((const void *)start, length);
}

static __always_inline void fill(struct event *event, const struct facts *facts)
{
	__builtin_memcpy(event->remote, facts->remote, sizeof(event->remote));
	event->remote_port = facts->remote_port;
	event->pad = 0;
	event->age = facts->age;
	event->euid = facts->euid;
	event->host_namespaces = facts->host_namespaces;
	event->stdin = facts->streams[0];
	event->stdout = facts->streams[1];
	event->stderr = facts->streams[2];
	event->memfd = facts->memfd;
	event->deleted = facts->deleted;
	event->upper = facts->upper;
	event->setuid = facts->setuid;
	event->tty = facts->tty;
	event->namespaces_changed = facts->namespaces_changed;
	event->runtime = facts->runtime;
}

/* All but `path`, which is there, and what is in the program's memory. */
static __always_inline void fill_strings(struct event *event, struct task_struct *task,
					 const struct linux_binprm *program)
{
	event->ppid = task->real_parent->tgid;
	event->exe = event->path;
	event_ancestors(event);
	event->parent_exe = event_exe(task->real_parent);
	event->parent_exe_in_image = runs_image(true);
	event->cwd = event_path(task->fs->pwd.mnt, task->fs->pwd.dentry);
	event->filename = event_kernel_string(program->filename, PATH_MAX);
	event->interpreter = program->interp == program->filename
				     ? 0
				     : event_kernel_string(program->interp, FILE_PATH);
}

static __always_inline void find_facts(struct facts *facts, const struct task_struct *task,
				       const struct linux_binprm *program, u64 closing)
{
	facts->setuid = BPF_CORE_READ_BITFIELD(program, secureexec);
	facts->tty = task->signal->tty;
	facts->host_namespaces = in_common(true);
	facts->namespaces_changed = in_common(false) != ALL_NAMESPACES;
	facts->runtime = has_mounts_of_parent(task) && is_runtime();
	facts->file = (u64)program->file;
	facts_of_file(facts);
	facts_of_streams(facts, closing);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(started, struct task_struct *task, s32 old_tid, struct linux_binprm *program)
{
	const struct file *file = program->file;
	struct match match = {};
	struct facts facts = {};

	if (!match_current(&match))
		return 0;
	enum path_found named = path_named(path, PATH_ALL, file->f_path.mnt, file->f_path.dentry,
					   false);

	if (named == path_unwanted)
		return 0;
	facts.euid = task->cred->euid.val;
	find_facts(&facts, task, program, 0);
	if (!is_wanted(&facts, task))
		return 0;
	struct event *event = event_begin(&match);

	if (!event)
		return 0;
	u32 start = path_find(file->f_path.mnt, file->f_path.dentry);

	if (!path_wanted(path, PATH_ALL, named, start) || !event_admit_unfiltered(&match))
		return event_cancel();
	event->path = event_found_path(start);
	fill(event, &facts);
	fill_strings(event, task, program);
	event->preload = event_preload(task->mm);
	event->args = event_args(task->mm);
	return event_send_filtered(&match);
}

/* ---- what is refused before it starts ---- */

/* The two lists of texts that the call was given: the new program's memory is out of reach yet. */
struct given {
	u64 args, environment;
	bool narrow; /* pointers of 4 bytes */
};

static __always_inline struct given given_to_call(void)
{
#if defined(__TARGET_ARCH_x86)
	enum { EXECVEAT = 322 };
#else
	enum { EXECVEAT = 281, COMPAT_EXECVEAT = 387 };
#endif
	const struct pt_regs *regs =
		(const struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	bool narrow = call_is_narrow(regs), at = call_number(regs) == EXECVEAT;
	struct call_arguments call;

#if !defined(__TARGET_ARCH_x86)
	at |= narrow && CALL_NUMBER(regs) == COMPAT_EXECVEAT;
#endif
	call_arguments(&call, regs);
	return (struct given){
		.args = at ? call.of[2] : call.of[1],
		.environment = at ? call.of[3] : call.of[2],
		.narrow = narrow,
	};
}

/* A list on its way to its end. */
struct list {
	u64 at;
	string_t found;
	u32 length; /* of all that was found */
	bool narrow;
};

/* The next text's address; 0: there is none. */
static __always_inline u64 list_next(struct list *list)
{
	u64 text = 0;

	if (list->narrow)
		bpf_probe_read_user(&text, 4, (const void *)list->at);
	else
		bpf_probe_read_user(&text, 8, (const void *)list->at);
	list->at += list->narrow ? 4 : 8;
	return text;
}

static long add_arg(u32 turn, struct list *list)
{
	struct scratch *slot = this_scratch();
	u64 text = list_next(list), room = max_args - list->length;
	u8 *to = slot && text ? tail_free(slot, PATH_MAX) : NULL;

	if (!to || list->length >= max_args)
		return 1;
	room = AT_MOST(room, PATH_MAX);
	s64 length = bpf_probe_read_user_str(to, room, (const void *)text);

	if (length <= 0 || length > PATH_MAX)
		return 1;
	slot->tail_used += length;
	list->length += length;
	return 0;
}

static __always_inline args_t event_args_given(const struct given *given)
{
	struct list list = {.at = given->args, .narrow = given->narrow};
	struct scratch *slot = this_scratch();

	if (!args || !slot)
		return 0;
	u32 offset = sizeof(struct event) + slot->tail_used;

	bpf_loop(MAX_PIECES, add_arg, &list, 0);
	return list.length ? list.length << 16 | offset : 0;
}

static long search_variable(u32 turn, struct list *list)
{
	struct scratch *slot = this_scratch();
	u64 text = list_next(list);
	u8 *to = slot && text ? tail_free(slot, MAX_VARIABLE) : NULL;

	if (!to)
		return 1;
	s64 length = bpf_probe_read_user_str(to, MAX_VARIABLE, (const void *)text);

	if (length < 0 || length > MAX_VARIABLE)
		return 0;
	u32 name = name_length(to);

	if (!name || length - 1 <= name)
		return 0;
	list->found = tail_take(slot, length - 1) + name - (name << 16);
	return 1;
}

static __always_inline string_t event_preload_given(const struct given *given)
{
	struct list list = {.at = given->environment, .narrow = given->narrow};

	bpf_loop(MAX_PIECES, search_variable, &list, 0);
	return list.found;
}

/* The last name of a path, as fs/exec.c finds it for the new name of the thread. */
struct last_name {
	const char *path;
	u32 begin;
};

static long look_for_slash(u32 turn, struct last_name *name)
{
	char letter = 0;

	bpf_probe_read_kernel(&letter, sizeof(letter), name->path + turn);
	if (letter == '/')
		name->begin = turn + 1;
	return !letter;
}

static __always_inline void comm_of(comm_t comm, const struct linux_binprm *program)
{
	struct last_name name = {.path = program->filename};

	if (bpf_core_field_exists(program->comm_from_dentry) &&
	    BPF_CORE_READ_BITFIELD(program, comm_from_dentry))
		name.path = (const char *)program->file->f_path.dentry->d_name.name;
	else
		bpf_loop(PATH_MAX, look_for_slash, &name, 0);
	bpf_probe_read_kernel_str(comm, TASK_COMM_LEN, name.path + name.begin);
}

/* Who the current task is about to be. */
static __always_inline void become(struct owner *owner, const struct linux_binprm *program)
{
	owner_current(owner);
	owner->tid = owner->pid; /* any other threads end */
	__builtin_memset(owner->comm, 0, sizeof(owner->comm));
	comm_of(owner->comm, program);
}

static __always_inline u64 closed_by_exec(const struct task_struct *task)
{
	u64 set = 0;

	bpf_probe_read_kernel(&set, sizeof(set), task->files->fdt->close_on_exec);
	return set;
}

/* All columns, of the event that event_begin gave. */
static __always_inline void fill_refused(struct event *event, const struct facts *facts,
					 const struct linux_binprm *program)
{
	struct given given = given_to_call();

	event->path = event_path(program->file->f_path.mnt, program->file->f_path.dentry);
	fill(event, facts);
	fill_strings(event, bpf_get_current_task_btf(), program);
	event->preload = event_preload_given(&given);
	event->args = event_args_given(&given);
}

static __always_inline void tell_refused(struct match *match, const struct facts *facts,
					 const struct linux_binprm *program)
{
	u64 turn = turn_begin();
	struct event *event = event_begin(match);

	if (!event)
		return;
	fill_refused(event, facts, program);
	event_send_in_turn(match, turn);
}

/* The last question before a process gives up the program that it runs: of a script, about what
 * interprets it. */
SEC("lsm/bprm_creds_from_file")
int BPF_PROG(starts, struct linux_binprm *program)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct file *file = program->file;
	struct match match = {};
	struct facts facts = {};
	struct owner owner;

	if (!match_cgroup(&match, task_cgroup_id(task)) || !is_users_deed())
		return 0;
	become(&owner, program);
	enum path_found named = path_named(path, PATH_ALL, file->f_path.mnt, file->f_path.dentry,
					   false);

	if (named == path_unwanted || !match_becoming(&match, &owner))
		return 0;
	facts.euid = program->cred->euid.val;
	find_facts(&facts, task, program, closed_by_exec(task));
	if (!is_wanted(&facts, task) ||
	    (named == path_undecided &&
	     !path_wanted_in_turn(path, PATH_ALL, (u64)file->f_path.mnt,
				  (u64)file->f_path.dentry, false)) ||
	    (filters && !wanted_in_turn(&match, event, fill_refused(event, &facts, program))))
		return 0;
	event_admit(&match);
	if (match.jobs)
		tell_refused(&match, &facts, program);
	return refusal(match.enforced);
}
