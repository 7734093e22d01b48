// SPDX-License-Identifier: GPL-2.0
/* Sockets: the one behind a file descriptor, and whose a socket is where no task stands for it. */
#pragma once

#include "descriptor.h"
#include "match.h"

#include <bpf/bpf_endian.h>

/* include/linux/socket.h */
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10 };

/* For a file that is known to be a socket. */
static __always_inline struct sock *socket_of_file(const struct file *file)
{
	const struct socket *socket = READ(struct file, file, private_data);

	return READ(struct socket, socket, sk);
}

static __always_inline u16 socket_family(const struct sock *sk)
{
	return READ(struct sock, sk, __sk_common.skc_family);
}

/* NULL: the descriptor is no socket's. */
static __always_inline struct sock *socket_of_descriptor(u32 fd)
{
	const struct file *file = file_of(fd);

	return file_type(file) == S_IFSOCK ? socket_of_file(file) : NULL;
}

/* Writes an ip_t; `to` is aligned to 8 bytes. */
static __always_inline void map_to_v6(u8 *to, u32 ipv4)
{
	*(u64 *)to = 0;
	*(u32 *)(to + 8) = bpf_htonl(0xffff);
	*(u32 *)(to + 12) = ipv4;
}

/* The owner that a socket itself names: the cgroup and the user that made it, or for one that was
 * accepted, those that made the socket that listens. Which process it is, is not known: pid 0. */
static __always_inline void owner_of_socket(struct owner *owner, const struct sock *sk)
{
	const struct cgroup *cgroup = READ(struct sock, sk, sk_cgrp_data.cgroup);
	const struct kernfs_node *node = READ(struct cgroup, cgroup, kn);

	__builtin_memset(owner, 0, sizeof(*owner));
	owner->cgroup_id = READ(struct kernfs_node, node, id);
	owner->uid = READ(struct sock, sk, sk_uid.val);
}
