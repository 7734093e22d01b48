// SPDX-License-Identifier: GPL-2.0
/* The namespaces that a task is in. */
#pragma once

#include "read.h"

enum namespace_flags {
	namespace_flags_mnt = 1 << 0,
	namespace_flags_pid = 1 << 1,
	namespace_flags_net = 1 << 2,
	namespace_flags_ipc = 1 << 3,
	namespace_flags_uts = 1 << 4,
	namespace_flags_user = 1 << 5,
	namespace_flags_cgroup = 1 << 6,
	namespace_flags_time = 1 << 7,
};

/* By the number of each one's bit, but for `time`: what the kernel's files that stand for namespaces
 * point to, include/linux/ns_common.h. */
enum { NAMESPACES = 7, ALL_NAMESPACES = (1 << NAMESPACES) - 1 };
struct namespaces {
	u64 of[NAMESPACES];
};

/* What a task is called in the pid namespace that it is in itself. */
static __always_inline const struct upid *number_of(const struct task_struct *task)
{
	enum { MAX_NUMBERS = 1024 }; /* bytes, and more than kernel/pid_namespace.c allows */
	const struct pid *pid = READ(struct task_struct, task, thread_pid);
	u64 behind = READ(struct pid, pid, level) * bpf_core_type_size(struct upid) +
		     bpf_core_field_offset(struct pid, numbers);

	return (const void *)pid + (behind < MAX_NUMBERS ? behind : 0);
}

/* Plain numbers to the verifier, which are those that come from a helper. */
#define NS_COMMON(type, from, member) \
	((u64)BPF_CORE_READ(from, member) + bpf_core_field_offset(struct type, ns))

static __always_inline void namespaces_of(struct namespaces *to, const struct task_struct *task)
{
	const struct nsproxy *proxy = READ(struct task_struct, task, nsproxy);
	const struct cred *cred = READ(struct task_struct, task, cred);

	to->of[0] = NS_COMMON(mnt_namespace, proxy, mnt_ns);
	to->of[1] = NS_COMMON(pid_namespace, number_of(task), ns);
	to->of[2] = NS_COMMON(net, proxy, net_ns);
	to->of[3] = NS_COMMON(ipc_namespace, proxy, ipc_ns);
	to->of[4] = NS_COMMON(uts_namespace, proxy, uts_ns);
	to->of[5] = NS_COMMON(user_namespace, cred, user_ns);
	to->of[6] = NS_COMMON(cgroup_namespace, proxy, cgroup_ns);
}

/* Of which kind a namespace is: include/uapi/linux/sched.h, CLONE_NEW…, and one bit alone. */
static __always_inline u32 type_of_namespace(const struct ns_common *namespace)
{
	return bpf_core_field_exists(struct ns_common, ns_type)
		       ? READ(struct ns_common, namespace, ns_type)
		       : BPF_CORE_READ(namespace, ops, type);
}

/* 1 or 0, without a branch: each would double what the verifier has to walk. */
static __always_inline u32 are_same(u64 one, u64 other)
{
	u64 differ = one ^ other;

	differ |= -differ;
	barrier_var(differ);
	return differ >> 63 ^ 1;
}
