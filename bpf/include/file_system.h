// SPDX-License-Identifier: GPL-2.0
/* Where a file is in its own file system, wherever that or a part of it is mounted: mounts on the way are
 * not looked at, so that no mount gives a file another path here.
 *
 * It begins at the root of the file system, or at the node's root where the file is below that: a node's
 * root may be a folder of what is on its disk.
 */
#pragma once

#include "layer.h"
#include "lineage.h"

static __always_inline const struct dentry *host_root(void)
{
	const struct fs_struct *fs = READ(struct task_struct, host_task(), fs);

	return READ(struct fs_struct, fs, root.dentry);
}

/* Whether a path begins there. */
static __always_inline bool is_first(const struct dentry *dentry)
{
	return dentry == READ(struct dentry, dentry, d_parent) || dentry == host_root();
}

/* Whether that is the path which was put together last. */
static __always_inline bool walk_is_of_file_system(void)
{
	const struct path_walk *walk = this_walk();

	return walk && !walk->left && is_first(walk->began);
}

/* What what was put together last is on. */
struct walked_on {
	bool node; /* the file system of the node's root */
	bool root; /* that, or an overlay, as containers' roots are: what lies where there is known, and
		    * not so on a volume */
};

static __always_inline struct walked_on walk_is_on(void)
{
	const struct path_walk *walk = this_walk();
	const struct dentry *root = host_root(), *began = walk ? walk->began : NULL;
	const struct super_block *mounted = READ(struct dentry, began, d_sb);
	struct walked_on on = {.node = began && mounted == READ(struct dentry, root, d_sb)};

	on.root = on.node || (began && READ(struct super_block, mounted, s_magic) ==
					       OVERLAYFS_SUPER_MAGIC);
	return on;
}

static __always_inline u32 walk_file_system_step(struct path_walk *walk)
{
	const struct dentry *dentry = walk->dentry;

	if (walk->cut)
		return walk_cut;
	if (dentry == walk->top || dentry == READ(struct dentry, dentry, d_parent))
		return walk_arrived;
	return walk_up(walk);
}

static long walk_file_system_turn(u32 turn, u32 *found)
{
	struct path_walk *walk = this_walk();

	*found = walk ? walk_file_system_step(walk) : walk_cut;
	return *found != walk_on;
}

/* All steps of one that stays in its file system. Global: see lose_for_first in match.h. */
__weak u32 walk_file_system(void)
{
	struct path_walk *walk = this_walk();
	u32 found = walk_on;

	if (!walk)
		return FILE_PATH - 1;
	walk->top = host_root();
	bpf_loop(PATH_STEPS, walk_file_system_turn, &found, 0);
	if (found != walk_arrived)
		walk_mark(walk, "...", 3);
	else if (walk->start == FILE_PATH - 1)
		walk_mark(walk, "/", 1);
	return walk->start;
}

/* Likewise path_find. */
static __always_inline u32 path_find_in_file_system(const struct vfsmount *mount,
						    const struct dentry *dentry)
{
	struct path_walk *walk = this_walk();

	if (!walk)
		return FILE_PATH - 1;
	walk_begin(walk);
	walk_from(walk, mount, dentry);
	return walk_file_system() & (FILE_PATH - 1);
}
