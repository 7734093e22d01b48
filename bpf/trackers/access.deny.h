// SPDX-License-Identifier: GPL-2.0
/* The half of access.bpf.c at security hooks: what is refused before it is done. */

/* What is about to be done: places as the kernel has found them, which no other thread can change any
 * more, and texts in its own memory. */
struct place {
	u64 mount, dentry;
};
struct deed {
	enum kind kind;
	bool writing;
	u32 flags, mode, device;
	struct place path, target;
	u64 text, filesystem; /* of a target that is no place */
	u64 file;	      /* 0: there is none yet */
};

static __always_inline struct place place_of(const struct path *path)
{
	return (struct place){.mount = (u64)path->mnt, .dentry = (u64)path->dentry};
}

/* An entry of a directory, which need not be there yet. */
static __always_inline struct place below(const struct path *directory, const struct dentry *entry)
{
	return (struct place){.mount = (u64)directory->mnt, .dentry = (u64)entry};
}

/* Global, as are those below: see lose_for_first in match.h. */
__weak int is_path_wanted(u32 of, u64 mount, u64 dentry)
{
	return path_wanted_in_turn(path, of, mount, dentry, false) ||
	       (where_filesystem_path_as_path && path_wanted_in_turn(path, of, mount, dentry, true));
}

/* Sets all columns as if it was to succeed. */
__weak int fill_deed(struct event *event, const struct deed *deed, bool runtime)
{
	if (!event || !deed)
		return 0;
	event->runtime = runtime;
	event->kind = deed->kind;
	event->error = 0;
	event->writing = deed->writing;
	event->flags = deed->flags;
	event->path = event_path((const void *)deed->path.mount, (const void *)deed->path.dentry);
	struct walked_on on = walk_is_on();

	event->root_filesystem = on.root;
	event->node_filesystem = on.node;
	event->filesystem_path =
		walk_is_of_file_system()
			? event->path
			: event_walked(path_find_in_file_system((const void *)deed->path.mount,
								(const void *)deed->path.dentry));
	event->target = deed->target.dentry
				? event_path((const void *)deed->target.mount,
					     (const void *)deed->target.dentry)
				: event_kernel_string((const void *)deed->text, FILE_PATH);
	if (deed->file) {
		fill_file(event, (const struct file *)deed->file);
	} else {
		event->mode = deed->mode & S_IALLUGO;
		event->file_type = deed->mode & S_IFMT;
		event->device = deed->device;
		event->links = 0;
		event->upper = event->foreign = false;
		event->filesystem =
			event_kernel_string((const void *)deed->filesystem, TYPE_NAME);
	}
	event->exe_in_image = runs_image(false);
	event_lineage(event);
	return 0;
}

static __always_inline void tell_deed(struct match *match, const struct deed *deed, bool runtime)
{
	u64 turn = turn_begin();
	struct event *event = event_begin(match);

	if (!event)
		return;
	fill_deed(event, deed, runtime);
	event->error = match->enforced ? EPERM : 0;
	event_send_in_turn(match, turn);
}

__weak int is_denied(const struct deed *deed)
{
	struct match match = {};

	if (!deed || !match_deed(&match))
		return false;
	u32 of = class_of(deed->kind, deed->writing, deed->mode);
	const void *mount = (const void *)deed->path.mount;
	const void *dentry = (const void *)deed->path.dentry;
	bool both = where_filesystem_path_as_path;

	if (!path_possible(path, of, mount, dentry, both))
		return false;
	enum path_found named = path_named(path, of, mount, dentry, both);

	if (named == path_unwanted)
		return false;
	bool runtime = is_runtime();

	if (!within(&where_runtime, runtime) ||
	    (named == path_undecided && !is_path_wanted(of, deed->path.mount, deed->path.dentry)) ||
	    (filters && !wanted_in_turn(&match, event, fill_deed(event, deed, runtime))))
		return false;
	event_admit(&match);
	if (match.jobs)
		tell_deed(&match, deed, runtime);
	return match.enforced;
}

static __always_inline int deny(const struct deed *deed)
{
	if (!within(&where_kind, deed->kind) || !within(&where_writing, deed->writing) ||
	    !within(&where_error, 0) || !within(&where_file_type, deed->mode & S_IFMT))
		return 0;
	return refusal(is_denied(deed));
}

/* Whether it has a name on one of the mounts that only the kernel has (MNT_NS_INTERNAL of fs/mount.h), such
 * as those of an overlay's layers, of which it copies what is to be changed. What a process has from there,
 * such as a file in memory, is below nothing. */
static __always_inline bool is_kernels_own(const struct path *path)
{
	const struct mount *mount =
		(const void *)path->mnt - bpf_core_field_offset(struct mount, mnt);
	const struct dentry *dentry = path->dentry;

	return is_error((s64)READ(struct mount, mount, mnt_ns)) &&
	       READ(struct dentry, dentry, d_parent) != dentry;
}

/* A file that a stacked file system opens below was asked for above; one that was made by the open itself
 * was asked for before that. */
SEC("lsm/file_open")
int BPF_PROG(file_opens, struct file *file)
{
	struct match match = {};
	u32 mode = file->f_mode, flags = file->f_flags;

	if (flags & __FMODE_EXEC || mode & (FMODE_NOACCOUNT | FMODE_CREATED) ||
	    !match_deed(&match) || is_kernels_own(&file->f_path))
		return 0;
	struct deed deed = {
		.kind = kind_open,
		.writing = mode & FMODE_WRITE || flags & O_TRUNC,
		.flags = flags & ~O_LARGEFILE,
		.mode = mode_of(file),
		.path = place_of(&file->f_path),
		.file = (u64)file,
	};

	return deny(&deed);
}

/* Of a file that is made by an open, or by mknod; a socket's is made by bind(2), and not told of. */
SEC("lsm/path_mknod")
int BPF_PROG(node_is_made, const struct path *directory, struct dentry *entry, u32 mode, u32 device)
{
	s32 number = call_number((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()));
	bool by_mknod = number == call_mknod || number == call_mknodat;
	u32 type = mode & S_IFMT;

	/* Made by nothing else, and calls of 32-bit programs on arm64 are not known by their numbers. */
	by_mknod |= type && type != S_IFREG && type != S_IFSOCK;
	struct deed deed = {
		.kind = by_mknod ? kind_mknod : kind_create,
		.writing = true,
		.mode = type ? mode : mode | S_IFREG,
		.path = below(directory, entry),
	};

	if (type == S_IFBLK || type == S_IFCHR)
		deed.device = device_of(device);
	return by_mknod || type == S_IFREG ? deny(&deed) : 0;
}

SEC("lsm/path_mkdir")
int BPF_PROG(directory_is_made, const struct path *directory, struct dentry *entry, u32 mode)
{
	struct deed deed = {
		.kind = kind_create,
		.writing = true,
		.mode = mode | S_IFDIR,
		.path = below(directory, entry),
	};

	return deny(&deed);
}

SEC("lsm/path_unlink")
int BPF_PROG(name_goes, const struct path *directory, struct dentry *entry)
{
	struct deed deed = {
		.kind = kind_delete,
		.writing = true,
		.path = below(directory, entry),
	};

	return deny(&deed);
}

SEC("lsm/path_rmdir")
int BPF_PROG(directory_goes, const struct path *directory, struct dentry *entry)
{
	struct deed deed = {
		.kind = kind_delete,
		.writing = true,
		.mode = S_IFDIR,
		.path = below(directory, entry),
	};

	return deny(&deed);
}

SEC("lsm/path_rename")
int BPF_PROG(name_changes, const struct path *from, struct dentry *entry, const struct path *to,
	     struct dentry *new)
{
	struct deed deed = {
		.kind = kind_rename,
		.writing = true,
		.path = below(from, entry),
		.target = below(to, new),
	};

	return deny(&deed);
}

/* Both are on the same mount: fs/namei.c, do_linkat. */
SEC("lsm/path_link")
int BPF_PROG(link_is_made, struct dentry *entry, const struct path *to, struct dentry *new)
{
	struct deed deed = {
		.kind = kind_link,
		.writing = true,
		.path = below(to, entry),
		.target = below(to, new),
	};

	return deny(&deed);
}

SEC("lsm/path_symlink")
int BPF_PROG(symlink_is_made, const struct path *directory, struct dentry *entry, const char *text)
{
	struct deed deed = {
		.kind = kind_symlink,
		.writing = true,
		.mode = S_IFLNK,
		.path = below(directory, entry),
		.text = (u64)text,
	};

	return deny(&deed);
}

static __always_inline int deny_change(enum kind kind, const struct path *path, u32 mode)
{
	struct deed deed = {
		.kind = kind,
		.writing = true,
		.mode = mode,
		.path = place_of(path),
	};

	return deny(&deed);
}

/* Before Linux 6.2 of files that are open as well. */
SEC("lsm/path_truncate")
int BPF_PROG(file_is_cut, const struct path *path)
{
	return deny_change(kind_truncate, path, 0);
}

SEC("lsm/path_chmod")
int BPF_PROG(mode_changes, const struct path *path, u32 mode)
{
	return deny_change(kind_chmod, path, mode & S_IALLUGO);
}

SEC("lsm/path_chown")
int BPF_PROG(owner_changes, const struct path *path)
{
	return deny_change(kind_chown, path, 0);
}

SEC("lsm/sb_mount")
int BPF_PROG(is_mounted, const char *source, const struct path *path, const char *type)
{
	struct deed deed = {
		.kind = kind_mount,
		.writing = true,
		.path = place_of(path),
		.text = (u64)source,
		.filesystem = (u64)type,
	};

	return deny(&deed);
}

SEC("lsm/move_mount")
int BPF_PROG(mount_moves, const struct path *from, const struct path *to)
{
	struct deed deed = {
		.kind = kind_mount,
		.writing = true,
		.path = place_of(to),
		.target = place_of(from),
	};

	return deny(&deed);
}

SEC("lsm/sb_umount")
int BPF_PROG(mount_goes, struct vfsmount *mount)
{
	struct deed deed = {
		.kind = kind_umount,
		.writing = true,
		.path = {.mount = (u64)mount, .dentry = (u64)mount->mnt_root},
	};

	return deny(&deed);
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(root_moves, const struct path *old, const struct path *new)
{
	struct deed deed = {
		.kind = kind_pivot,
		.writing = true,
		.path = place_of(new),
		.target = place_of(old),
	};

	return deny(&deed);
}
