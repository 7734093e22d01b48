// SPDX-License-Identifier: GPL-2.0
/* Whether a file is of a container's image, or came to be after that. */
#pragma once

#include "read.h"

/* include/uapi/linux/magic.h */
enum {
	OVERLAYFS_SUPER_MAGIC = 0x794c7630,
	TMPFS_MAGIC = 0x01021994,
	RAMFS_MAGIC = 0x858458f6,
	HUGETLBFS_MAGIC = 0x958458f6,
};

static __always_inline u64 magic_of(const struct inode *inode)
{
	const struct super_block *mounted = READ(struct inode, inode, i_sb);

	return READ(struct super_block, mounted, s_magic);
}

static __always_inline bool is_in_memory(u64 magic)
{
	return magic == TMPFS_MAGIC || magic == RAMFS_MAGIC || magic == HUGETLBFS_MAGIC;
}

/* Where an overlay's inode names its entry in the upper layer. overlayfs is often a module, whose types
 * not everyone may ask for; the member has stood behind the inode itself since Linux 4.13. */
static __always_inline u64 offset_of_upper(void)
{
	if (!bpf_core_type_exists(struct ovl_inode))
		return bpf_core_type_size(struct inode);
	return bpf_core_field_offset(struct ovl_inode, __upperdentry) -
	       bpf_core_field_offset(struct ovl_inode, vfs_inode);
}

static __always_inline bool is_upper(const struct inode *inode, u64 magic)
{
	if (magic == OVERLAYFS_SUPER_MAGIC)
		return read_pointer((const void *)inode + offset_of_upper());
	return is_in_memory(magic);
}

/* Whether it is the mount that a task's mount namespace has for its root: the one on the kernel's own
 * first, empty one, and what is mounted over it is another. */
static __always_inline bool is_root_mount(const struct task_struct *task, const struct vfsmount *mount)
{
	const struct nsproxy *proxy = READ(struct task_struct, task, nsproxy);
	const struct mnt_namespace *namespace = READ(struct nsproxy, proxy, mnt_ns);
	const struct mount *first = READ(struct mnt_namespace, namespace, root);
	const struct mount *this = (const void *)mount - bpf_core_field_offset(struct mount, mnt);

	return this == first ||
	       (READ(struct mount, this, mnt_parent) == first &&
		READ(struct mount, this, mnt_mountpoint) == READ(struct mount, first, mnt.mnt_root));
}

/* Whether what a task runs is the image's: neither made or changed after it, nor mounted over it. Global:
 * see lose_for_first in match.h. */
__weak int runs_image(bool parent)
{
	const struct task_struct *task = bpf_get_current_task_btf();

	if (parent)
		task = task->real_parent;
	if (!task->mm)
		return false;
	const struct file *file = task->mm->exe_file;
	const struct inode *inode = READ(struct file, file, f_inode);

	return is_root_mount(task, READ(struct file, file, f_path.mnt)) &&
	       !is_upper(inode, magic_of(inode));
}
