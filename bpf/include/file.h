// SPDX-License-Identifier: GPL-2.0
/* Open files, and the path of each.
 *
 * All is read without the kernel's locks. Each name is one that its directory had it under; where
 * several directories of a path are renamed meanwhile, they may not have been so at the same time.
 */
#pragma once

#include "descriptor.h"

/* ---- paths ---- */

/* A tracker that defines it as true has paths begin at the root that the process has taken for itself. */
#ifndef PATHS_FROM_OWN_ROOT
#define PATHS_FROM_OWN_ROOT false
#endif

/* Bytes of a path with its NUL. What is longer keeps its end, behind "...". */
enum { FILE_PATH = 256 };
/* The most bytes that may have to stand before a path, and the most names and mounts on its way. */
enum { PATH_MARK = 16, PATH_STEPS = 128 };

/* A path on its way from its end, the file's name, to its beginning. The second half of the text is
 * always zero, so that FILE_PATH bytes can be copied from wherever a path begins. */
struct path_walk {
	const struct dentry *dentry, *top; /* where it has come to, and the root of the mount there */
	const struct dentry *began;	   /* the root of the mount that it began in */
	const struct vfsmount *mount;
	u32 start; /* of what is written already */
	bool cut;
	bool left; /* the mount that it began in, by another way than the root */
	char text[2 * FILE_PATH];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct path_walk);
} path_walk SEC(".maps");

enum { walk_on = 0, walk_arrived = 1, walk_outside = 2, walk_cut = 3 };

static __always_inline struct path_walk *this_walk(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&path_walk, &zero);
}

static __always_inline void walk_begin(struct path_walk *walk)
{
	walk->start = FILE_PATH - 1;
	walk->cut = false;
	walk->left = false;
}

static __always_inline void walk_from(struct path_walk *walk, const struct vfsmount *mount,
				      const struct dentry *dentry)
{
	walk->dentry = dentry;
	walk->mount = mount;
	walk->top = walk->began = READ(struct vfsmount, mount, mnt_root);
}

/* Writes a name before what is written already, and a slash before it. If it does not fit, cannot
 * be read, or changes meanwhile, it is cut: a part of it or nothing is there. */
static __always_inline void walk_prepend_name(struct path_walk *walk, const void *name, u32 length)
{
	u32 end = walk->start & (FILE_PATH - 1), room = end - PATH_MARK;

	if (end < PATH_MARK || length >= room) {
		walk->cut = true;
		if (end < PATH_MARK)
			return;
		name += (length - room) & (PATH_MAX - 1);
		length = room;
	}
	u32 start = (end - length) & (FILE_PATH - 1);
	char behind = walk->text[end];
	s64 copied =
		bpf_probe_read_kernel_str(&walk->text[start], (length & (FILE_PATH - 1)) + 1, name);

	walk->text[end] = behind; /* where its NUL was put */
	if (copied != length + 1) {
		walk->cut = true;
		return;
	}
	if (!walk->cut)
		walk->text[--start & (FILE_PATH - 1)] = '/';
	walk->start = start;
}

static __always_inline void walk_prepend(struct path_walk *walk, const struct dentry *dentry)
{
	walk_prepend_name(walk, READ(struct dentry, dentry, d_name.name),
			  READ(struct dentry, dentry, d_name.len));
}

static __always_inline void walk_mark(struct path_walk *walk, const char *mark, u32 length)
{
	u32 start = (walk->start - length) & (FILE_PATH - 1);

	__builtin_memcpy(&walk->text[start], mark, length);
	walk->start = start;
}

/* The root that the process has taken for itself, where ".." goes no further. */
static __always_inline bool walk_is_at_own_root(const struct path_walk *walk)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return walk->dentry == task->fs->root.dentry && walk->mount == task->fs->root.mnt;
}

/* Whether it has come to the root of all mounts that the current process could see without chroot(2),
 * which takes nothing away but names: whoever changes the root changes no path. */
static __always_inline bool walk_is_at_root(const struct path_walk *walk)
{
	if (PATHS_FROM_OWN_ROOT)
		return walk_is_at_own_root(walk);
	if (walk->dentry != walk->top)
		return false;
	const struct task_struct *task = bpf_get_current_task_btf();
	const struct nsproxy *proxy = READ(struct task_struct, task, nsproxy);
	const struct mnt_namespace *namespace = READ(struct nsproxy, proxy, mnt_ns);
	const struct mount *root = READ(struct mnt_namespace, namespace, root);

	return root && (const void *)walk->mount - bpf_core_field_offset(struct mount, mnt) == root;
}

/* From the root of a mount to where it is mounted. False: nowhere. */
static __always_inline bool walk_out(struct path_walk *walk)
{
	const struct vfsmount *mount = walk->mount;
	const struct mount *below = (const void *)mount - bpf_core_field_offset(struct mount, mnt);
	const struct mount *above = READ(struct mount, below, mnt_parent);

	if (above == below) {
		walk->left = true;
		return false;
	}
	walk->dentry = READ(struct mount, below, mnt_mountpoint);
	mount = (const void *)above + bpf_core_field_offset(struct mount, mnt);
	walk->mount = mount;
	walk->top = READ(struct vfsmount, mount, mnt_root);
	walk->left |= walk->dentry != walk->top;
	return true;
}

/* Writes the name that it has come to, and goes to the folder of that. */
static __always_inline u32 walk_up(struct path_walk *walk)
{
	const struct dentry *dentry = walk->dentry;
	u32 start = walk->start, sequence = READ(struct dentry, dentry, d_seq.seqcount.sequence);

	walk->dentry = READ(struct dentry, dentry, d_parent);
	if (walk->dentry == dentry)
		return walk_cut;
	walk_prepend(walk, dentry);
	if (sequence & 1 || sequence != READ(struct dentry, dentry, d_seq.seqcount.sequence)) {
		walk->dentry = dentry; /* it is being renamed: once more */
		walk->start = start;
		walk->cut = false;
	}
	return walk_on;
}

/* One step up: a name, or out of a mount. */
static __always_inline u32 walk_step(struct path_walk *walk)
{
	if (walk->cut)
		return walk_cut;
	if (walk_is_at_root(walk))
		return walk_arrived;
	if (walk->dentry == walk->top)
		return walk_out(walk) ? walk_on : walk_outside;
	return walk_up(walk);
}

static long walk_turn(u32 turn, u32 *found)
{
	struct path_walk *walk = this_walk();

	*found = walk ? walk_step(walk) : walk_cut;
	return *found != walk_on;
}

/* All steps. Global: see lose_for_first in match.h. */
__weak u32 walk_all(void)
{
	struct path_walk *walk = this_walk();
	u32 found = walk_on;

	if (!walk)
		return FILE_PATH - 1;
	const struct dentry *dentry = walk->dentry;

	if (dentry != walk->top && dentry == READ(struct dentry, dentry, d_parent)) {
		walk_prepend(walk, dentry);
		return walk->start + !walk->cut;
	}
	bpf_loop(PATH_STEPS, walk_turn, &found, 0);
	if (found == walk_arrived && walk->start == FILE_PATH - 1)
		walk_mark(walk, "/", 1);
	else if (found == walk_outside)
		walk_mark(walk, "(unreachable)", 13);
	else if (found != walk_arrived)
		walk_mark(walk, "...", 3);
	return walk->start;
}

/* Puts a path together as the current process' mount namespace has it: up to the root of that, through
 * all mounts, whatever the process took for its root, but for PATHS_FROM_OWN_ROOT. What is not below there stands as "(unreachable)/…", as in
 * getcwd(2); what has a name and no directory, that of memfd_create(2) for example, as that name
 * alone, which for a socket is that of its protocol; what has none, a pipe, as "". Returns where it
 * begins in this_walk()->text. */
static __always_inline u32 path_find(const struct vfsmount *mount, const struct dentry *dentry)
{
	struct path_walk *walk = this_walk();

	if (!walk)
		return FILE_PATH - 1;
	walk_begin(walk);
	walk_from(walk, mount, dentry);
	return walk_all() & (FILE_PATH - 1);
}

/* Writes the path of a file. */
static __always_inline void path_write(char to[FILE_PATH], const struct file *file)
{
	struct path_walk *walk = this_walk();
	u32 start = path_find(READ(struct file, file, f_path.mnt),
			      READ(struct file, file, f_path.dentry));

	if (walk)
		bpf_probe_read_kernel(to, FILE_PATH, &walk->text[start & (FILE_PATH - 1)]);
}
