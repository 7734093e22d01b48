// SPDX-License-Identifier: GPL-2.0
/* Sockets: the one behind a file descriptor, and whose a socket is where no task stands for it. */
#pragma once

#include "match.h"

/* include/linux/socket.h */
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10 };

/* include/uapi/linux/stat.h, upper bits of a mode */
enum { S_IFMT = 0170000, S_IFIFO = 0010000, S_IFSOCK = 0140000 };

/* What stands behind a file descriptor of the current task, NULL if nothing does. Its address is
 * one to read from by BPF_CORE_READ. */
static __always_inline struct file *file_of_descriptor(u32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	return file;
}

/* NULL: the descriptor is no socket's. */
static __always_inline struct sock *socket_of_descriptor(u32 fd)
{
	struct file *file = file_of_descriptor(fd);

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(socket, sk);
}

/* The owner that a socket itself names: the cgroup and the user that made it, or for one that was
 * accepted, those that made the socket that listens. Which process it is, is not known: pid 0. */
static __always_inline void owner_of_socket(struct owner *owner, struct sock *sk)
{
	__builtin_memset(owner, 0, sizeof(*owner));
	owner->cgroup_id = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	owner->uid = BPF_CORE_READ(sk, sk_uid.val);
}
