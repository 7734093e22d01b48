// SPDX-License-Identifier: GPL-2.0
/* The kernel types that the programs here rely on, and nothing else.
 *
 * Each struct names only the members that are read. Their offsets are filled in at load time from
 * the running kernel's own BTF (CO-RE), so that this file fits every kernel that has the members.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef _Bool bool;
enum { false = 0, true = 1 };

/* The names that libbpf's own headers expect. */
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s32 __s32;
typedef s64 __s64;
typedef u16 __be16;
typedef u32 __be32;
typedef u64 __be64;
typedef u32 __wsum;

#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_F_NO_PREALLOC = 1 << 0, BPF_LOCAL_STORAGE_GET_F_CREATE = 1 << 0 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_USER_STACK = 1 << 8 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1 };

/* include/uapi/linux/limits.h, include/linux/sched.h */
enum { PATH_MAX = 4096, TASK_COMM_LEN = 16 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h */
struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	unsigned long bp, bx, r10, r9, r8, cx, dx, si, di, orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
#else
#error "system-call arguments are known for x86 and arm64 only"
#endif
};

/* include/linux/types.h */
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct list_head {
	struct list_head *next;
};

/* arch/x86/include/asm/thread_info.h, arch/arm64/include/asm/thread_info.h */
struct thread_info {
	unsigned long flags;
	u32 status;
};

/* include/linux/signal_types.h */
struct kernel_siginfo {
	s32 si_code;
};

/* include/linux/hrtimer_types.h, include/linux/hrtimer_defs.h */
struct hrtimer {
	struct hrtimer_clock_base *base;
};
struct hrtimer_clock_base {
	struct hrtimer_cpu_base *cpu_base;
	s64 offset;
};
enum hrtimer_base_type { HRTIMER_BASE_MONOTONIC, HRTIMER_BASE_REALTIME };
struct hrtimer_cpu_base {
	struct hrtimer_clock_base clock_base[HRTIMER_BASE_REALTIME + 1];
};

/* include/linux/sched/signal.h */
struct atomic {
	s32 counter;
};
struct signal_struct {
	struct atomic live;
	s32 group_exit_code;
	u32 flags;
	struct hrtimer real_timer;
	struct tty_struct *tty;
};

/* include/linux/mm_types.h */
struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
};

/* include/linux/path.h */
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

/* include/linux/mount.h, fs/mount.h */
struct vfsmount {
	struct dentry *mnt_root;
};
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

/* include/linux/seqlock_types.h */
struct seqcount {
	u32 sequence;
};
struct seqcount_spinlock {
	struct seqcount seqcount;
};

/* include/linux/dcache.h */
struct qstr {
	u32 len;
	const unsigned char *name;
};
struct dentry {
	struct seqcount_spinlock d_seq;
	struct dentry *d_parent;
	struct qstr d_name;
	struct super_block *d_sb;
};

/* include/linux/fs.h */
struct file_system_type {
	const char *name;
};
struct super_block {
	u32 s_dev;
	unsigned long s_magic;
	struct file_system_type *s_type;
};
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};
struct inode {
	u16 i_mode;
	u32 i_nlink;
	u32 i_rdev;
	struct super_block *i_sb;
	unsigned long i_ino;
	void *i_private;
	s64 i_ctime_sec;
	u32 i_ctime_nsec;
};
/* fs/proc/internal.h; pid: whose file it is, NULL: no process's */
struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};
struct inode___6_6 { /* and up to 6.10 */
	struct timespec64 __i_ctime;
};
struct inode___6_5 { /* and before */
	struct timespec64 i_ctime;
};
struct file {
	u32 f_mode, f_flags;
	void *private_data;
	struct inode *f_inode;
	const struct cred *f_cred;
	struct path f_path;
};

/* fs/overlayfs/ovl_entry.h */
struct ovl_inode {
	struct inode vfs_inode;
	struct dentry *__upperdentry;
};

/* include/linux/fdtable.h */
struct fdtable {
	u32 max_fds;
	struct file **fd;
	unsigned long *close_on_exec; /* a set of bits */
};
struct files_struct {
	struct fdtable *fdt;
};

/* include/linux/fs_struct.h */
struct fs_struct {
	struct path root, pwd;
};

/* include/linux/seccomp_types.h */
struct seccomp {
	s32 mode;
};

/* include/linux/sched.h */
struct task_struct {
	struct thread_info thread_info;
	s32 pid, tgid;
	u32 flags;
	s32 exit_code;
	u64 start_boottime;
	struct task_struct *group_leader, *real_parent;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct css_set *cgroups;
	struct list_head cg_list;
	struct nsproxy *nsproxy;
	struct pid *thread_pid;
	struct hlist_node pid_links[2];
	const struct cred *real_cred, *cred;
	struct seccomp seccomp;
	char comm[TASK_COMM_LEN];
};
struct task_cputime {
	u64 stime, utime, sum_exec_runtime;
};


/* include/linux/binfmts.h */
struct linux_binprm {
	u32 secureexec : 1;
	u32 comm_from_dentry : 1; /* newer kernels */
	struct file *file;
	struct cred *cred;
	const char *filename, *interp;
};

/* include/linux/kernfs.h */
struct kernfs_node {
	u64 id;
};

/* include/linux/cgroup-defs.h; subsys has an element for each enum cgroup_subsys_id */
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};
struct cgroup_base_stat {
	struct task_cputime cputime;
};
struct cgroup {
	struct cgroup_subsys_state self;
	s32 level;
	struct kernfs_node *kn;
	struct cgroup_subsys_state *subsys[1];
	struct cgroup_root *root;
	struct list_head cset_links;
	struct cgroup_rstat_cpu *rstat_cpu;
	struct cgroup_rstat_base_cpu *rstat_base_cpu; /* instead, on newer kernels */
};
struct cgroup_root {
	s32 hierarchy_id;
	struct cgroup cgrp;
};
struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
	s32 nr_tasks;
	struct list_head tasks;
};

/* kernel/cgroup/cgroup-internal.h */
struct cgrp_cset_link {
	struct css_set *cset;
	struct list_head cset_link;
};

/* include/linux/bpf.h */
struct bpf_array {
	void *pptrs[1];
};

/* kernel/bpf/task_iter.c */
struct bpf_iter__task {
	struct task_struct *task;
};

/* kernel/bpf/cgroup_iter.c */
struct bpf_iter__cgroup {
	struct cgroup *cgroup;
};

/* include/linux/cgroup_subsys.h: the values are the running kernel's own */
enum cgroup_subsys_id {
	pids_cgrp_id = 1,
	cpu_cgrp_id,
	memory_cgrp_id,
};

/* kernel/sched/sched.h */
struct cfs_bandwidth {
	s32 nr_periods, nr_throttled;
	u64 throttled_time;
};
struct task_group {
	struct cgroup_subsys_state css;
	struct cfs_bandwidth cfs_bandwidth;
};

/* include/linux/page_counter.h */
struct atomic_long {
	s64 counter;
};
struct page_counter {
	struct atomic_long usage;
	unsigned long max;
};

/* include/linux/memcontrol.h */
struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
};

/* block/blk-cgroup.h */
struct blkcg {
	struct cgroup_subsys_state css;
};
struct blkcg_gq {
	struct blkcg *blkcg;
};

/* include/linux/bvec.h, include/linux/blk_types.h */
struct bvec_iter {
	u32 bi_size;
};
struct bio {
	u32 bi_opf;
	u16 bi_flags;
	struct bvec_iter bi_iter;
	struct blkcg_gq *bi_blkg;
};

/* include/linux/xarray.h, lib/idr.c */
struct xarray {
	void *xa_head;
};
struct xa_node {
	u8 shift;
	void *slots[1];
};
struct idr {
	struct xarray idr_rt;
};

/* include/linux/proc_ns.h */
struct proc_ns_operations {
	s32 type;
};

/* include/linux/ns_common.h */
struct ns_common {
	u32 ns_type;
	const struct proc_ns_operations *ops; /* and there is its type, before Linux 6.18 */
};

/* include/linux/pid_namespace.h */
struct pid_namespace {
	struct idr idr;
	struct task_struct *child_reaper;
	u32 level;
	struct ns_common ns;
};

/* include/linux/pid.h */
struct upid {
	s32 nr;
	struct pid_namespace *ns;
};
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID };
struct pid {
	u32 level;
	struct hlist_head tasks[PIDTYPE_TGID + 1];
	struct upid numbers[1];
};

/* include/net/snmp.h, include/net/netns/mib.h */
struct ipstats_mib {
	u64 mibs[1];
};
struct netns_mib {
	struct ipstats_mib *ip_statistics, *ipv6_statistics;
};

/* include/net/net_namespace.h, include/linux/nsproxy.h */
struct net {
	struct netns_mib mib;
	u64 net_cookie;
	struct ns_common ns;
};
struct uts_namespace {
	struct ns_common ns;
};
struct ipc_namespace {
	struct ns_common ns;
};
struct mnt_namespace {
	struct ns_common ns;
	struct mount *root;
};
struct cgroup_namespace {
	struct ns_common ns;
};
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
};

/* include/linux/uidgid_types.h */
typedef struct {
	u32 val;
} kuid_t;

/* include/linux/user_namespace.h */
struct user_namespace {
	s32 level;
	struct ns_common ns;
};

/* include/linux/cred.h */
typedef struct {
	u32 val;
} kgid_t;
struct cred {
	kuid_t uid, euid, suid, fsuid;
	kgid_t gid, egid, sgid, fsgid;
	struct user_namespace *user_ns;
};

/* include/uapi/linux/in6.h */
struct in6_addr {
	u8 bytes[16];
};

/* include/uapi/linux/net.h, include/linux/socket.h */
enum socket_state { SS_FREE, SS_UNCONNECTED };
struct msghdr {
	void *msg_name;
	s32 msg_namelen;
	u32 msg_flags;
};

/* include/linux/net.h */
struct socket {
	enum socket_state state;
	struct sock *sk;
};

/* include/linux/cgroup-defs.h */
struct sock_cgroup_data {
	struct cgroup *cgroup;
};

/* include/net/sock.h */
struct sock_common {
	u16 skc_family;
	u8 skc_state;
	unsigned long skc_flags;
	u32 skc_daddr, skc_rcv_saddr;
	u16 skc_dport;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
	s32 sk_err;
	kuid_t sk_uid;
	struct pid *sk_peer_pid;
	struct sock_cgroup_data sk_cgrp_data;
};

/* include/net/inet_sock.h */
struct inet_sock {
	struct sock sk;
	u16 inet_sport;
};

/* include/linux/tcp.h */
struct tcp_sock {
	u32 write_seq, snd_una;
	u64 bytes_sent, bytes_retrans, bytes_acked, bytes_received;
	u32 total_retrans;
};

/* include/uapi/linux/un.h, include/net/af_unix.h */
struct sockaddr_un {
	u16 sun_family;
	char sun_path[108];
};
struct unix_address {
	s32 len;
	struct sockaddr_un name[1];
};
struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};

#pragma clang attribute pop
