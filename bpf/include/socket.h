// SPDX-License-Identifier: GPL-2.0
/* Sockets: the one behind a file descriptor, and whose a socket is where no task stands for it. */
#pragma once

#include "match.h"

/* include/linux/socket.h */
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10 };

/* include/uapi/linux/stat.h, upper bits of a mode */
enum { S_IFMT = 0170000, S_IFIFO = 0010000, S_IFSOCK = 0140000 };

/* What stands behind a descriptor of the current task; NULL: nothing does. */
static __always_inline struct file *file_of_descriptor(u32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = task->files->fdt;
	struct file *file = NULL;

	if (fd < table->max_fds)
		bpf_probe_read_kernel(&file, sizeof(file), &table->fd[fd]);
	return file;
}

static __always_inline struct sock *socket_of_file(struct file *file)
{
	struct socket *socket = BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(socket, sk);
}

/* NULL: the descriptor is no socket's. */
static __always_inline struct sock *socket_of_descriptor(u32 fd)
{
	struct file *file = file_of_descriptor(fd);

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	return socket_of_file(file);
}

/* The owner that a socket itself names: the cgroup and the user that made it, or for one that was
 * accepted, those that made the socket that listens. Which process it is, is not known: pid 0. */
static __always_inline void owner_of_socket(struct owner *owner, struct sock *sk)
{
	__builtin_memset(owner, 0, sizeof(*owner));
	owner->cgroup_id = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	owner->uid = BPF_CORE_READ(sk, sk_uid.val);
}
