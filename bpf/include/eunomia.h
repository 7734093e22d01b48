// SPDX-License-Identifier: GPL-2.0
/* The vocabulary that the trackers, the agent and the people who read the rows share.
 *
 * The meaning of a column is its typedef: the agent reads it from the object's BTF and picks the
 * renderer of that name (events/render.py). A new meaning is a typedef here and a renderer there.
 */
#pragma once

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Times and lengths of time. */
typedef u64 boot_ns_t;	 /* ns of CLOCK_BOOTTIME; rendered as a date */
typedef u64 duration_t;	 /* ns */
typedef u64 bytes_t;	 /* a number of bytes */

/* Who. */
typedef u64 cgroup_id_t; /* inode number of the cgroup in the v2 hierarchy */
typedef u64 job_set_t;	 /* bit i: the job in slot i of the agent */
typedef u32 tgid_t;	 /* a process, as the first pid namespace numbers it */
typedef u32 tid_t;	 /* a thread, likewise */
typedef u32 uid_t;	 /* as the first user namespace numbers it */
typedef char comm_t[TASK_COMM_LEN];

/* What was asked and what came of it. */
typedef s32 fd_t;	 /* -1: none */
typedef u32 errno_t;	 /* 0: no error */
typedef u32 signal_t;	 /* 0: no signal */
typedef u32 exit_code_t; /* 0 to 255 */
typedef u32 open_flags_t;
typedef u32 file_mode_t;
typedef s32 syscall_t;	 /* a system call's number in the machine's own table */
typedef u32 capability_t; /* number of one capability: include/uapi/linux/capability.h */

/* Files. */
typedef u64 inode_t;
typedef u32 device_t;	 /* the kernel's own dev_t: major << 20 | minor */
typedef u32 file_type_t; /* a mode's S_IFMT bits; others are ignored, so a whole mode will do */

/* Networks. */
typedef u32 ipv4_t;	 /* network byte order */
typedef u8 ipv6_t[16];
typedef u8 ip_t[16];	 /* either: an IPv4 address stands as ::ffff:1.2.3.4 */
typedef u16 port_t;	 /* host byte order */

/* Others. */
typedef u32 ipc_key_t;	 /* of System V IPC; rendered in hexadecimal */
typedef u32 percent_t;	 /* in hundredths of a percent: 1234 is 12.34 % */

/* What was counted. */
typedef u64 log2_t;	    /* how many values v had 2^i <= v < 2^(i+1), in slot i; 0 is in slot 0 */
typedef s32 kernel_stack_t; /* id of a stack in stack_traces; negative: an error */
typedef s32 user_stack_t;

/* Bytes of any length that stand behind the record's fixed part, without a NUL at the end:
 * low 16 bits: offset from the start of the record; high 16 bits: length. 0: empty. */
typedef u32 string_t;
typedef u32 path_t;
typedef u32 args_t; /* several, each ended by a NUL but for a last one that was cut off */

/* The first member of every event, 64 bytes. */
enum subject_flags {
	subject_pending = 1, /* made while its cgroup was not yet classified */
	subject_killed = 2,  /* the process was sent SIGKILL for it */
	subject_denied = 4,  /* it was refused before it was done */
	subject_refused = 8, /* likewise, and another instance tells of that */
};
struct subject {
	boot_ns_t time;
	cgroup_id_t cgroup_id;
	job_set_t jobs;
	boot_ns_t start_time; /* of the process: with the pid, its identity even when pids are reused */
	tgid_t pid;
	tid_t tid;
	uid_t uid;
	u32 subject_flags; /* enum subject_flags */
	comm_t comm;
};

/* Which cgroups are watched, agent-wide. An id that is absent is not a target. One without jobs is a
 * container's that nobody watches.
 * All room is made at the start: memory for a single entry is charged to the agent's memory cgroup
 * and refused when that is full, be it of page cache that could be dropped. */
enum target_state {
	target_classified = 0,
	target_pending = 1, /* made a moment ago: passes for every job that it may belong to */
	target_refused = 2, /* likewise, but too many were pending: its events are only counted */
};
struct target {
	job_set_t jobs;
	u32 state;   /* enum target_state */
	u32 inherit; /* 1: cgroups that are made below it are watched for the same jobs */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, cgroup_id_t);
	__type(value, struct target);
} targets SEC(".maps");
