// SPDX-License-Identifier: GPL-2.0
/* Sockets: the one behind a file descriptor, and whose a socket is where no task stands for it. */
#pragma once

#include "match.h"

/* include/linux/socket.h */
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10 };

/* include/uapi/linux/stat.h, upper bits of a mode */
enum { S_IFMT = 0170000, S_IFIFO = 0010000, S_IFSOCK = 0140000 };

/* A pointer that was read from memory is a plain number to the verifier, and each read through it a
 * call of a helper. Linux since 6.2 can be told what it points to: then it is a load. */
extern void *bpf_rdonly_cast(const void *pointer, u32 type) __ksym __weak;
#define POINTS_TO(type, pointer) \
	((type *)bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(type)))

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

static __always_inline u32 file_type(struct file *file)
{
	if (bpf_rdonly_cast)
		return POINTS_TO(struct file, file)->f_inode->i_mode & S_IFMT;
	return BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
}

/* For a file that is known to be a socket. */
static __always_inline struct sock *socket_of_file(struct file *file)
{
	if (bpf_rdonly_cast)
		return POINTS_TO(struct socket, POINTS_TO(struct file, file)->private_data)->sk;
	struct socket *socket = BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(socket, sk);
}

static __always_inline u16 socket_family(struct sock *sk)
{
	if (bpf_rdonly_cast)
		return POINTS_TO(struct sock, sk)->__sk_common.skc_family;
	return BPF_CORE_READ(sk, __sk_common.skc_family);
}

/* NULL: the descriptor is no socket's. */
static __always_inline struct sock *socket_of_descriptor(u32 fd)
{
	struct file *file = file_of_descriptor(fd);

	return file_type(file) == S_IFSOCK ? socket_of_file(file) : NULL;
}

/* The owner that a socket itself names: the cgroup and the user that made it, or for one that was
 * accepted, those that made the socket that listens. Which process it is, is not known: pid 0. */
static __always_inline void owner_of_socket(struct owner *owner, struct sock *sk)
{
	__builtin_memset(owner, 0, sizeof(*owner));
	owner->cgroup_id = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	owner->uid = BPF_CORE_READ(sk, sk_uid.val);
}
