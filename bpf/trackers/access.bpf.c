// SPDX-License-Identifier: GPL-2.0
/* What processes do to files by path: opens and creations, and changes to names, permissions and
 * mounts.
 *
 * A file that was opened is at hand where the kernel's functions can be hooked, and is found by its
 * descriptor elsewhere, so that its path is that of the file itself, whatever the call was given and
 * whatever became of that text since. Most opens are nobody's: those are turned away by what costs
 * least, first by how the file was opened, then by whose it is, by its last name, and only then by its
 * path. Other calls leave no file behind: see argument.h.
 */
#include "lineage.h"

enum kind {
	kind_open = 1,
	kind_create = 2,
	kind_delete = 3,
	kind_rename = 4,
	kind_link = 5,
	kind_symlink = 6,
	kind_truncate = 7,
	kind_chmod = 8,
	kind_chown = 9,
	kind_mknod = 10,
	kind_mount = 11,
	kind_umount = 12,
	kind_pivot = 13,
};

struct event {
	struct subject who;
	enum kind kind;
	errno_t error;
	path_t path;
	path_t filesystem_path;
	path_t target;
	open_flags_t flags;
	file_mode_t mode;
	file_type_t file_type;
	device_t device;
	u32 links;
	string_t filesystem;
	bool writing;
	bool upper;
	bool root_filesystem;
	bool node_filesystem;
	bool foreign;
	bool runtime;
	bool exe_in_image;
	LINEAGE_COLUMNS;
};
enum { TYPE_NAME = 32, EVENT_TAIL = 3 * FILE_PATH + TYPE_NAME + LINEAGE_TAIL };

#include "argument.h"
#include "chain.h"
#include "deny_path.h"
#include "event_lineage.h"
#include "filter.h"
#include "layer.h"
#include "match_path.h"
#include "runtime.h"
#include "syscall.h"
#include "task.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool failed_opens = false;

WHERE(kind);
WHERE(error);
WHERE(writing);
WHERE(file_type);
WHERE(runtime);
WHERE_PATH(path);
WHERE_PATH_AS(filesystem_path, path);

/* include/uapi/asm-generic/fcntl.h, arch/arm64/include/uapi/asm/fcntl.h */
enum { O_ACCMODE = 03, O_WRONLY = 01, O_CREAT = 0100, O_EXCL = 0200, O_NOCTTY = 0400, O_TRUNC = 01000,
       O_PATH = 010000000 };
#if defined(__TARGET_ARCH_x86)
enum { O_LARGEFILE = 0100000 };
#else
enum { O_LARGEFILE = 0400000 };
#endif
/* include/linux/fs.h */
enum { FMODE_WRITE = 1 << 1, __FMODE_EXEC = 1 << 5, FMODE_CREATED = 1 << 20,
       FMODE_NOACCOUNT = 1 << 29 };

/* fs/internal.h */
struct open_flags {
	s32 open_flag;
} __attribute__((preserve_access_index));
/* include/uapi/linux/stat.h */
enum { S_IFLNK = 0120000, S_IFDIR = 0040000, S_IFBLK = 0060000, S_IFCHR = 0020000, S_IALLUGO = 07777 };
/* include/uapi/linux/mount.h, include/uapi/linux/fcntl.h */
enum { MS_REMOUNT = 32, MS_BIND = 4096, MS_MOVE = 8192, MS_PROPAGATION = 15 << 17 };
enum { OPEN_TREE_CLONE = 1, AT_REMOVEDIR = 0x200 };

/* include/uapi/linux/openat2.h */
struct open_how {
	u64 flags, mode, resolve;
};

/* ---- calls ---- */

#if defined(__TARGET_ARCH_x86)
enum number {
	call_open = 2, call_truncate = 76, call_ftruncate = 77, call_rename = 82, call_mkdir = 83,
	call_rmdir = 84, call_creat = 85, call_link = 86, call_unlink = 87, call_symlink = 88,
	call_chmod = 90, call_fchmod = 91, call_chown = 92, call_fchown = 93, call_lchown = 94,
	call_mknod = 133, call_pivot_root = 155, call_mount = 165, call_umount2 = 166,
	call_openat = 257, call_mkdirat = 258, call_mknodat = 259, call_fchownat = 260,
	call_unlinkat = 263, call_renameat = 264, call_linkat = 265, call_symlinkat = 266,
	call_fchmodat = 268, call_open_by_handle_at = 304, call_renameat2 = 316,
	call_open_tree = 428, call_move_mount = 429, call_openat2 = 437, call_fchmodat2 = 452,
};
#else
enum number {
	call_mknodat = 33, call_mkdirat = 34, call_unlinkat = 35, call_symlinkat = 36,
	call_linkat = 37, call_renameat = 38, call_umount2 = 39, call_mount = 40,
	call_pivot_root = 41, call_truncate = 45, call_ftruncate = 46, call_fchmod = 52,
	call_fchmodat = 53, call_fchownat = 54, call_fchown = 55, call_openat = 56,
	call_open_by_handle_at = 265, call_renameat2 = 276, call_open_tree = 428,
	call_move_mount = 429, call_openat2 = 437, call_fchmodat2 = 452,
	/* are not there */
	call_open = -2, call_rename = -3, call_mkdir = -4, call_rmdir = -5, call_creat = -6,
	call_link = -7, call_unlink = -8, call_symlink = -9, call_chmod = -10, call_chown = -11,
	call_lchown = -12, call_mknod = -13,
};
#endif

/* The third argument is in the same register for 32-bit programs. */
static __always_inline bool is_open(s32 number, struct pt_regs *regs)
{
	switch (number) {
	case call_open:
	case call_creat:
	case call_openat:
	case call_openat2:
	case call_open_by_handle_at:
		return true;
	case call_open_tree: /* the same as O_PATH, but for what it copies to be mounted */
		return !(CALL_ARGUMENT_2(regs) & OPEN_TREE_CLONE);
	}
	return false;
}

const volatile u8 chained_calls[CHAINED_CALLS] = {
#if defined(__TARGET_ARCH_x86)
	[call_open] = true,
	[call_truncate ... call_ftruncate] = true,
	[call_rename ... call_symlink] = true,
	[call_chmod ... call_lchown] = true,
	[call_mknod] = true,
	[call_pivot_root] = true,
	[call_mount ... call_umount2] = true,
	[call_openat ... call_fchownat] = true,
	[call_unlinkat ... call_symlinkat] = true,
	[call_fchmodat] = true,
#else
	[call_mknodat ... call_pivot_root] = true,
	[call_truncate ... call_ftruncate] = true,
	[call_fchmod ... call_openat] = true,
#endif
	[call_open_by_handle_at] = true,
	[call_renameat2] = true,
	[call_open_tree ... call_move_mount] = true,
	[call_openat2] = true,
	[call_fchmodat2] = true,
};

/* ---- what a call asks for ---- */

enum named_as {
	named_not = 0,
	named_path = 1, /* a path, below a directory */
	named_file = 2, /* the descriptor of the file itself */
	named_text = 3, /* a text that stands for itself */
};
struct named {
	u64 text;
	s32 directory;
	enum named_as as;
};
struct request {
	struct named path, target;
	u64 filesystem; /* a text; 0: none is given */
	enum kind kind;
	u32 flags, mode, device;
};

#define NAMED(fd, name) ((struct named){.text = name, .directory = fd, .as = named_path})
#define HERE(name) NAMED(AT_FDCWD, name)
#define TEXT(name) ((struct named){.text = name, .as = named_text})
#define DESCRIPTOR(fd) ((struct named){.directory = fd, .as = named_file})
#define NOTHING ((struct named){})

static __always_inline bool ask(struct request *request, enum kind kind, struct named path,
				struct named target, u32 mode)
{
	request->kind = kind;
	request->path = path;
	request->target = target;
	request->mode = mode;
	return true;
}

/* include/linux/kdev_t.h, new_decode_dev */
static __always_inline device_t device_of(u32 given)
{
	return (given & 0xfff00) << 12 | (given & 0xff) | (given >> 12 & 0xfff00);
}

static __always_inline bool ask_node(struct request *request, struct named path, u32 mode, u32 device)
{
	u32 type = mode & S_IFMT;

	if (type == S_IFBLK || type == S_IFCHR)
		request->device = device_of(device);
	return ask(request, kind_mknod, path, NOTHING, type ? mode : mode | S_IFREG);
}

static __always_inline bool ask_mount(struct request *request, u64 source, u64 target, u64 filesystem,
				      u64 flags)
{
	if (flags & (MS_REMOUNT | MS_PROPAGATION))
		return ask(request, kind_mount, HERE(target), NOTHING, 0);
	if (flags & (MS_BIND | MS_MOVE))
		return ask(request, kind_mount, HERE(target), HERE(source), 0);
	request->filesystem = filesystem;
	return ask(request, kind_mount, HERE(target), TEXT(source), 0);
}

/* False: it is none of those that are told of. */
static __always_inline bool ask_change(struct request *request, s32 number, const u64 *of)
{
	switch (number) {
	case call_mkdir:
		return ask(request, kind_create, HERE(of[0]), NOTHING, of[1] | S_IFDIR);
	case call_mkdirat:
		return ask(request, kind_create, NAMED(of[0], of[1]), NOTHING, of[2] | S_IFDIR);
	case call_unlink:
		return ask(request, kind_delete, HERE(of[0]), NOTHING, 0);
	case call_rmdir:
		return ask(request, kind_delete, HERE(of[0]), NOTHING, S_IFDIR);
	case call_unlinkat:
		return ask(request, kind_delete, NAMED(of[0], of[1]), NOTHING,
			   of[2] & AT_REMOVEDIR ? S_IFDIR : 0);
	case call_rename:
		return ask(request, kind_rename, HERE(of[0]), HERE(of[1]), 0);
	case call_renameat:
	case call_renameat2:
		return ask(request, kind_rename, NAMED(of[0], of[1]), NAMED(of[2], of[3]), 0);
	case call_link:
		return ask(request, kind_link, HERE(of[0]), HERE(of[1]), 0);
	case call_linkat:
		return ask(request, kind_link, NAMED(of[0], of[1]), NAMED(of[2], of[3]), 0);
	case call_symlink:
		return ask(request, kind_symlink, HERE(of[1]), TEXT(of[0]), S_IFLNK);
	case call_symlinkat:
		return ask(request, kind_symlink, NAMED(of[1], of[2]), TEXT(of[0]), S_IFLNK);
	case call_truncate:
		return ask(request, kind_truncate, HERE(of[0]), NOTHING, 0);
	case call_ftruncate:
		return ask(request, kind_truncate, DESCRIPTOR(of[0]), NOTHING, 0);
	case call_chmod:
		return ask(request, kind_chmod, HERE(of[0]), NOTHING, of[1] & S_IALLUGO);
	case call_fchmod:
		return ask(request, kind_chmod, DESCRIPTOR(of[0]), NOTHING, of[1] & S_IALLUGO);
	case call_fchmodat:
	case call_fchmodat2:
		return ask(request, kind_chmod, NAMED(of[0], of[1]), NOTHING, of[2] & S_IALLUGO);
	case call_chown:
	case call_lchown:
		return ask(request, kind_chown, HERE(of[0]), NOTHING, 0);
	case call_fchown:
		return ask(request, kind_chown, DESCRIPTOR(of[0]), NOTHING, 0);
	case call_fchownat:
		return ask(request, kind_chown, NAMED(of[0], of[1]), NOTHING, 0);
	case call_mknod:
		return ask_node(request, HERE(of[0]), of[1], of[2]);
	case call_mknodat:
		return ask_node(request, NAMED(of[0], of[1]), of[2], of[3]);
	case call_mount:
		return ask_mount(request, of[0], of[1], of[2], of[3]);
	case call_open_tree:
		return ask(request, kind_mount, NOTHING, NAMED(of[0], of[1]), 0);
	case call_move_mount:
		return ask(request, kind_mount, NAMED(of[2], of[3]), NAMED(of[0], of[1]), 0);
	case call_umount2:
		return ask(request, kind_umount, HERE(of[0]), NOTHING, 0);
	case call_pivot_root:
		return ask(request, kind_pivot, HERE(of[0]), HERE(of[1]), 0);
	}
	return false;
}

/* The flags that a call opens with. Those of openat2(2) come from memory, and are no more than a hint. */
static __always_inline u32 open_flags(s32 number, const u64 *of)
{
	struct open_how how = {};

	if (number == call_open_tree)
		return O_PATH;
	if (number == call_creat)
		return O_CREAT | O_WRONLY | O_TRUNC;
	if (number == call_open)
		return of[1];
	if (number != call_openat2)
		return of[2];
	bpf_probe_read_user(&how, sizeof(how), (const void *)of[2]);
	return how.flags;
}

/* What a call was given that failed to open it. */
static __always_inline void ask_open(struct request *request, s32 number, const u64 *of)
{
	bool at = number == call_openat || number == call_openat2 || number == call_open_tree;

	if (number == call_open_by_handle_at)
		ask(request, kind_open, NOTHING, NOTHING, 0);
	else if (at)
		ask(request, kind_open, NAMED(of[0], of[1]), NOTHING, 0);
	else
		ask(request, kind_open, HERE(of[0]), NOTHING, 0);
}

/* ---- events ---- */

/* match_path.h, which has this number, too, as trackers/paths.py does: opens of disks are apart from all
 * others, so that who asks for them asks for no path, and nobody else's opens come for it. */
static __always_inline u32 class_of(enum kind kind, bool writing, u32 mode)
{
	bool disk = kind == kind_open && (mode & S_IFMT) == S_IFBLK;

	return PATH_CLASS(disk ? PATH_DISK : kind, writing);
}

static __always_inline u32 mode_of(const struct file *file)
{
	const struct inode *inode = READ(struct file, file, f_inode);

	return READ(struct inode, inode, i_mode);
}

/* include/uapi/linux/magic.h */
enum { PROC_SUPER_MAGIC = 0x9fa0 };

/* Whether a file of /proc is about a process of another cgroup. */
static __always_inline bool is_of_other_cgroup(const struct inode *inode)
{
	const struct proc_inode *about =
		(const void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);

	if (magic_of(inode) != PROC_SUPER_MAGIC)
		return false;
	const struct pid *pid = READ(struct proc_inode, about, pid);
	const struct task_struct *task = pid ? task_of_pid(pid) : NULL;

	return task && cgroup_id_of(task) != task_cgroup_id(bpf_get_current_task_btf());
}

static __always_inline void fill_file(struct event *event, const struct file *file)
{
	const struct inode *inode = READ(struct file, file, f_inode);
	const struct super_block *mounted = READ(struct inode, inode, i_sb);
	const struct file_system_type *type = READ(struct super_block, mounted, s_type);
	u32 mode = READ(struct inode, inode, i_mode);

	event->mode = mode & S_IALLUGO;
	event->file_type = mode & S_IFMT;
	event->device = READ(struct inode, inode, i_rdev);
	event->links = READ(struct inode, inode, i_nlink);
	event->upper = is_upper(inode, magic_of(inode));
	event->foreign = is_of_other_cgroup(inode);
	event->filesystem =
		event_kernel_string(READ(struct file_system_type, type, name), TYPE_NAME);
}

static __always_inline void fill_asked(struct event *event, const struct request *request)
{
	event->mode = request->mode & S_IALLUGO;
	event->file_type = request->mode & S_IFMT;
	event->device = request->device;
	event->links = 0;
	event->upper = event->foreign = false;
	event->filesystem = event_user_string((const void *)request->filesystem, TYPE_NAME);
}

/* What was put together, as a string of the event. */
static __always_inline path_t event_walked(u32 start)
{
	struct path_walk *walk = this_walk();

	return walk ? event_kernel_string(&walk->text[start & (FILE_PATH - 1)], FILE_PATH) : 0;
}

/* Puts the path together. */
static __always_inline u32 find_file(const struct vfsmount *mount, const struct dentry *dentry,
				     bool in_file_system)
{
	return in_file_system ? path_find_in_file_system(mount, dentry) : path_find(mount, dentry);
}

static __always_inline u32 find(const struct named *named, bool in_file_system)
{
	if (named->as == named_path)
		return argument_find(named->directory, named->text, in_file_system);
	const struct file *file = named->as == named_file ? file_of(named->directory) : NULL;

	return file ? find_file(READ(struct file, file, f_path.mnt),
				READ(struct file, file, f_path.dentry), in_file_system)
		    : FILE_PATH - 1;
}

/* What the last name of a path decides that was put together. */
static __always_inline enum path_found last_name_found(u32 of, u32 start)
{
	struct path_walk *walk = this_walk();

	if (!walk || of & where_path_free || !(of & where_path_used.names))
		return path_named_as(path, of, NULL, 0);
	u32 length = last_name_length() & (FILE_PATH - 1);

	if (!length && walk->cut)
		return enforcement ? path_unwanted : path_found;
	return path_named_as(path, of, &walk->text[(FILE_PATH - 1 - length) & (FILE_PATH - 1)], length);
}

/* A call that has no file any more, or never had one. Global: see lose_for_first in match.h. */
__weak int tell(const struct request *request, s64 result, bool writing)
{
	struct match match = {};

	if (!request || !match_current(&match))
		return 0;
	struct event *event = event_begin(&match);

	if (!event)
		return 0;
	const struct file *file =
		request->path.as == named_file ? file_of(request->path.directory) : NULL;
	u32 mode = file ? mode_of(file) : request->mode;

	if (!within(&where_file_type, mode & S_IFMT))
		return event_cancel();
	u32 start = find(&request->path, false), of = class_of(request->kind, writing, mode);
	bool wanted = path_wanted(path, of, last_name_found(of, start), start);
	bool same = walk_is_of_file_system(), runtime = is_runtime();
	struct walked_on on = walk_is_on();

	if (!wanted && where_filesystem_path_as_path && !same) {
		start = find(&request->path, true);
		wanted = path_wanted(path, of, last_name_found(of, start), start);
		start = find(&request->path, false);
	}
	if (!wanted || !within(&where_runtime, runtime) || !event_admit_unfiltered(&match))
		return event_cancel();
	event->runtime = runtime;
	event->kind = request->kind;
	event->error = result < 0 ? -result : 0;
	event->flags = request->flags;
	event->writing = writing;
	event->path = event_walked(start);
	event->filesystem_path = same ? event->path : event_walked(find(&request->path, true));
	event->root_filesystem = on.root;
	event->node_filesystem = on.node;
	event->target = request->target.as == named_text
				? event_user_string((const void *)request->target.text, FILE_PATH)
				: event_walked(find(&request->target, false));
	if (file)
		fill_file(event, file);
	else
		fill_asked(event, request);
	event->exe_in_image = runs_image(false);
	event_lineage(event);
	match.refused = is_refused_call(event->error);
	return event_send_filtered(&match);
}

static __always_inline int changed(const struct request *request, s64 result)
{
	if (!within(&where_kind, request->kind) || !within(&where_writing, true) ||
	    !within(&where_error, result < 0 ? -result : 0))
		return 0;
	return tell(request, result, true);
}

static __always_inline int failed_to_open(const u64 *of, s32 number, s64 result)
{
	struct request request = {.flags = open_flags(number, of)};
	bool writing = request.flags & (O_ACCMODE | O_TRUNC);

	if (!within(&where_kind, kind_open) || !within(&where_writing, writing) ||
	    !within(&where_error, -result))
		return 0;
	ask_open(&request, number, of);
	return tell(&request, result, writing);
}

/* flags: those of the call; of them the file keeps what is of use later. */
static __always_inline int opened(const struct file *file, u32 flags)
{
	struct match match = {};

	if (!within(&where_error, 0) || (!can_cast() && !match_current(&match)))
		return 0;
	u32 mode = READ(struct file, file, f_mode);
	enum kind kind = mode & FMODE_CREATED ? kind_create : kind_open;
	bool writing = mode & (FMODE_WRITE | FMODE_CREATED) || flags & O_TRUNC;

	if (!within(&where_writing, writing) || !within(&where_kind, kind))
		return 0;
	const struct vfsmount *mount = READ(struct file, file, f_path.mnt);
	const struct dentry *dentry = READ(struct file, file, f_path.dentry);
	u32 type = mode_of(file), of = class_of(kind, writing, type);
	bool both = where_filesystem_path_as_path;

	if (!within(&where_file_type, type & S_IFMT) ||
	    !path_possible(path, of, mount, dentry, both) ||
	    (can_cast() && !match_current(&match)))
		return 0;
	enum path_found named = path_named(path, of, mount, dentry, both);

	if (named == path_unwanted)
		return 0;
	struct event *event = event_begin(&match);

	if (!event)
		return 0;
	u32 start = path_find(mount, dentry);
	bool wanted = path_wanted(path, of, named, start);
	bool same = walk_is_of_file_system();
	struct walked_on on = walk_is_on();

	if (!wanted && both && !same) {
		wanted = path_wanted(path, of, named, find_file(mount, dentry, true));
		start = path_find(mount, dentry);
	}
	if (!wanted)
		return event_cancel();
	bool runtime = is_runtime();

	if (!within(&where_runtime, runtime) || !event_admit_unfiltered(&match))
		return event_cancel();
	event->runtime = runtime;
	event->kind = kind;
	event->error = 0;
	event->flags = (READ(struct file, file, f_flags) & ~O_LARGEFILE) |
		       (flags & (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC));
	event->writing = writing;
	event->path = event_walked(start);
	event->filesystem_path =
		same ? event->path : event_walked(find_file(mount, dentry, true));
	event->root_filesystem = on.root;
	event->node_filesystem = on.node;
	event->target = 0;
	fill_file(event, file);
	event->exe_in_image = runs_image(false);
	event_lineage(event);
	return event_send_filtered(&match);
}

/* Of a call's result. Global, with a stack of its own: see lose_for_first in match.h. */
__weak int opened_as(u32 fd, u32 flags)
{
	return opened(file_of(fd), flags);
}

/* opens: those that succeed are told here, and not by the kernel's own functions. */
static __always_inline int call_ended(struct pt_regs *regs, s64 result, bool opens)
{
	s32 number = call_number(regs);

	if (!chained_calls[chained_call(number)])
		return 0;
	struct call_arguments call;

	call_arguments(&call, regs);
	if (is_open(number, regs)) {
		if (result < 0)
			return failed_opens ? failed_to_open(call.of, number, result) : 0;
		return opens || number == call_open_tree
			       ? opened_as(result, open_flags(number, call.of))
			       : 0;
	}
	struct request request = {};

	return ask_change(&request, number, call.of) ? changed(&request, result) : 0;
}

/* ---- where only system calls can be hooked ---- */

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	call_ended(regs, result, true);
	return chain_go_on(ctx, call_number(regs));
}

/* ---- where the kernel's functions can be hooked ---- */

SEC("raw_tp/sys_exit")
int other_call_ends(u64 *arguments)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return call_ended((struct pt_regs *)bpf_task_pt_regs(task), arguments[1], false);
}

/* The file is at hand, before any descriptor of it is; io_uring passes here as well, and exec. */
SEC("fexit/do_filp_open")
int BPF_PROG(open_ends, s32 directory, const void *name, const struct open_flags *flags,
	     struct file *file)
{
	if (!is_error((s64)file) && !(flags->open_flag & __FMODE_EXEC))
		opened(file, flags->open_flag);
	return 0;
}

/* It returns an int on some kernels, whose upper half says nothing. */
SEC("fexit/do_handle_open")
int BPF_PROG(open_by_handle_ends, s32 mount, const void *handle, s32 flags, s32 result)
{
	if (result >= 0)
		opened_as(result, flags);
	return 0;
}

#include "access.deny.h"
