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
	bool parent_exe_in_image;
};
/* All variables of the environment are read into the tail; the one that is kept is no longer. */
enum { MAX_VARIABLE = 1024 };
enum { EVENT_TAIL = 2 * PATH_MAX + 4 * FILE_PATH + MAX_VARIABLE + LINEAGE_TAIL };

#include "event_lineage.h"
#include "layer.h"
#include "match_path.h"
#include "socket.h"

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
WHERE_PATH(path);

/* What an event's columns say that needs no string. */
struct facts {
	duration_t age;
	ip_t remote __attribute__((aligned(8)));
	port_t remote_port;
	enum stream streams[3];
	enum namespace_flags host_namespaces;
	bool memfd, deleted, upper, setuid, tty, namespaces_changed;
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
	const struct file *file = task->mm->exe_file;
	const struct inode *inode = READ(struct file, file, f_inode);

	if (!facts)
		return 0;
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

static __always_inline void facts_of_streams(struct facts *facts)
{
#pragma unroll
	for (u32 fd = 0; fd < 3; fd++) {
		facts->streams[fd] = stream_of(fd);
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
	       within(&where_euid, task->cred->euid.val) && within(&where_age, facts->age) &&
	       within(&where_remote_port, facts->remote_port) &&
	       within(&where_stdin, facts->streams[0]) &&
	       within(&where_stdout, facts->streams[1]) &&
	       within(&where_stderr, facts->streams[2]) && within(&where_memfd, facts->memfd) &&
	       within(&where_deleted, facts->deleted) && within(&where_upper, facts->upper) &&
	       within(&where_setuid, facts->setuid) && within(&where_tty, facts->tty) &&
	       within(&where_namespaces_changed, facts->namespaces_changed);
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
}

static __always_inline void fill_strings(struct event *event, struct task_struct *task,
					 const struct linux_binprm *program)
{
	event->exe = event->path;
	event_ancestors(event);
	event->parent_exe = event_exe(task->real_parent);
	event->parent_exe_in_image = runs_image(true);
	event->cwd = event_path(task->fs->pwd.mnt, task->fs->pwd.dentry);
	event->filename = event_kernel_string(program->filename, PATH_MAX);
	event->interpreter = program->interp == program->filename
				     ? 0
				     : event_kernel_string(program->interp, FILE_PATH);
	event->preload = event_preload(task->mm);
	event->args = event_args(task->mm);
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
	facts.setuid = BPF_CORE_READ_BITFIELD(program, secureexec);
	facts.tty = task->signal->tty;
	facts.host_namespaces = in_common(true);
	facts.namespaces_changed = in_common(false) != ALL_NAMESPACES;
	facts_of_file(&facts);
	facts_of_streams(&facts);
	if (!is_wanted(&facts, task))
		return 0;
	struct event *event = event_begin(&match);

	if (!event)
		return 0;
	u32 start = path_find(file->f_path.mnt, file->f_path.dentry);

	if (!path_wanted(path, PATH_ALL, named, start) || !event_admit(&match))
		return event_cancel();
	event->euid = task->cred->euid.val;
	event->path = event_found_path(start);
	fill(event, &facts);
	fill_strings(event, task, program);
	return event_send(&match);
}
