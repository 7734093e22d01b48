// SPDX-License-Identifier: GPL-2.0
/* What stands behind a file descriptor of the current process.
 *
 * It is read without the kernel's locks: one that another thread closes meanwhile may give another
 * file.
 */
#pragma once

#include "read.h"

/* include/uapi/linux/stat.h */
enum { S_IFMT = 0170000, S_IFIFO = 0010000, S_IFREG = 0100000, S_IFSOCK = 0140000 };

/* NULL: there is no such descriptor. */
static __always_inline const struct file *file_of(u32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = task->files->fdt;

	return fd < table->max_fds ? read_pointer(&table->fd[fd]) : NULL;
}

/* One of the S_IF… above. */
static __always_inline u32 file_type(const struct file *file)
{
	const struct inode *inode = READ(struct file, file, f_inode);

	return READ(struct inode, inode, i_mode) & S_IFMT;
}
