// SPDX-License-Identifier: GPL-2.0
/* Files that processes open, read and write, counted by process and file. The path is put together
 * once a file and interval.
 *
 * Where the kernel's functions can be hooked, only those that read and write are: nothing else is
 * slowed, and the file is at hand. Otherwise the end of each system call is, and the file is looked
 * up by the descriptor. The beginning of calls is hooked only when it is asked how long they take.
 */
#define PATHS_FROM_OWN_ROOT true
#include "file.h"
#include "syscall.h"
#include "tally.h"

enum operation {
	operation_open = 1,
	operation_read = 2,
	operation_write = 3,
	operation_copy = 4, /* from one file to another: a read of this one and a write to that one */
};

struct count_key {
	struct tallied who;
	inode_t inode;
	device_t device;
	tgid_t pid;
};
struct count_value {
	u64 count;
	u64 opens;
	u64 reads;
	u64 writes;
	bytes_t read_bytes;
	bytes_t write_bytes;
	file_type_t file_type;
	u32 pad;
	comm_t comm;
	char path[FILE_PATH];
};
enum { MAX_COUNTS = 10240 };

struct histogram_key {
	struct tallied who;
	enum operation operation;
	u32 pad;
};
enum { MAX_HISTOGRAMS = 1024 };

#include "chain.h"
#include "counts.h"
#include "histogram.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool regular_only = true;
const volatile char exclude[64] = "";
const volatile bool histogram_wanted = false;
WHERE(inode);

/* What is too large for the stack: one entry at a time is made here. */
struct fresh {
	u64 busy;
	struct count_value value;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct fresh);
} fresh SEC(".maps");

/* Files whose path is excluded, in this interval. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct count_key);
	__type(value, u8);
} excluded SEC(".maps");

/* ---- calls ---- */

#if defined(__TARGET_ARCH_x86)
enum number {
	call_read = 0, call_write = 1, call_open = 2, call_pread64 = 17, call_pwrite64 = 18,
	call_readv = 19, call_writev = 20, call_sendfile = 40, call_creat = 85, call_openat = 257,
	call_splice = 275, call_preadv = 295, call_pwritev = 296, call_open_by_handle_at = 304,
	call_copy_file_range = 326, call_preadv2 = 327, call_pwritev2 = 328, call_openat2 = 437,
};
#else
enum number {
	call_openat = 56, call_read = 63, call_write = 64, call_readv = 65, call_writev = 66,
	call_pread64 = 67, call_pwrite64 = 68, call_preadv = 69, call_pwritev = 70,
	call_sendfile = 71, call_splice = 76, call_open_by_handle_at = 265,
	call_copy_file_range = 285, call_preadv2 = 286, call_pwritev2 = 287, call_openat2 = 437,
};
#endif

const volatile u8 chained_calls[CHAINED_CALLS] = {
	[call_read] = operation_read,
	[call_pread64] = operation_read,
	[call_readv] = operation_read,
	[call_preadv] = operation_read,
	[call_preadv2] = operation_read,
	[call_write] = operation_write,
	[call_pwrite64] = operation_write,
	[call_writev] = operation_write,
	[call_pwritev] = operation_write,
	[call_pwritev2] = operation_write,
#if defined(__TARGET_ARCH_x86)
	[call_open] = operation_open,
	[call_creat] = operation_open,
#endif
	[call_openat] = operation_open,
	[call_openat2] = operation_open,
	[call_open_by_handle_at] = operation_open,
	[call_sendfile] = operation_copy,
	[call_splice] = operation_copy,
	[call_copy_file_range] = operation_copy,
};

static __always_inline enum operation operation_of(s32 number)
{
	return chained_calls[chained_call(number)];
}

/* ---- entries ---- */

static __always_inline bool is_excluded(const char *path)
{
	for (u32 i = 0; i < sizeof(exclude) && exclude[i]; i++)
		if (path[i] != exclude[i])
			return false;
	return true;
}

/* Makes the entry of a file that was not seen in this interval yet. NULL: none is wanted, or none
 * could be made, which is counted. */
static __always_inline struct count_value *open_entry(const struct match *match,
						      const struct count_key *key,
						      const struct file *file, u32 mode)
{
	u32 zero = 0;
	struct fresh *slot = bpf_map_lookup_elem(&fresh, &zero);
	struct count_value *value = NULL;
	u8 yes = 1;

	if (!slot || match->state == target_refused)
		return NULL;
	if (exclude[0] && bpf_map_lookup_elem(&excluded, key))
		return NULL;
	if (__sync_lock_test_and_set(&slot->busy, 1)) {
		tally_lose(match);
		return NULL;
	}
	path_write(slot->value.path, file);
	slot->value.file_type = mode;
	bpf_get_current_comm(slot->value.comm, sizeof(slot->value.comm));
	if (exclude[0] && is_excluded(slot->value.path))
		bpf_map_update_elem(&excluded, key, &yes, BPF_ANY);
	else
		value = count_open(match, key, &slot->value);
	slot->busy = 0;
	return value;
}

/* Counts an operation on a file. False: it is not counted. */
static __always_inline bool add(const struct match *match, const struct file *file,
				enum operation operation, u64 bytes)
{
	const struct inode *inode = READ(struct file, file, f_inode);
	u32 mode = READ(struct inode, inode, i_mode);

	if (!inode || (regular_only && (mode & S_IFMT) != S_IFREG))
		return false;
	const struct super_block *mounted = READ(struct inode, inode, i_sb);
	struct count_key key = {
		.inode = READ(struct inode, inode, i_ino),
		.device = READ(struct super_block, mounted, s_dev),
		.pid = bpf_get_current_pid_tgid() >> 32,
	};

	if (!within(&where_inode, key.inode))
		return false;
	struct count_value *value = count_find(match, &key);

	if (!value)
		value = open_entry(match, &key, file, mode);
	if (!value)
		return false;
	count_one(value);
	if (operation == operation_open) {
		__sync_fetch_and_add(&value->opens, 1);
	} else if (operation == operation_read) {
		__sync_fetch_and_add(&value->reads, 1);
		__sync_fetch_and_add(&value->read_bytes, bytes);
	} else {
		__sync_fetch_and_add(&value->writes, 1);
		__sync_fetch_and_add(&value->write_bytes, bytes);
	}
	return true;
}

static __always_inline void add_duration(const struct match *match, enum operation operation,
					 u64 began)
{
	struct histogram_key key = {.operation = operation};

	histogram_add(match, &key, bpf_ktime_get_ns() - began);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_begins, struct pt_regs *regs, long number)
{
	struct match match = {};

	if (!histogram_wanted)
		return 0;
	s32 own = call_number(regs);

	if (operation_of(own) && match_current(&match))
		call_begin(own);
	return 0;
}

/* Whether a file of this mode is none of ours, whoever uses it. To look at a file that was just used
 * costs less than to ask whose the task is. A time that was noted is taken out first. */
static __always_inline bool is_left_out(u32 mode)
{
	return regular_only && !histogram_wanted && (mode & S_IFMT) != S_IFREG;
}

/* ---- by system calls ---- */

/* Global: see lose_for_first in match.h. */
__weak int add_descriptor(const struct match *match, u32 fd, u32 operation, u64 bytes)
{
	return match && add(match, file_of(fd), operation, bytes);
}

/* sendfile(2) names the file that it writes to first, the others the one that they read from. */
static __always_inline bool add_copy(const struct match *match, const u64 *of, s32 number,
				     u64 bytes)
{
	bool swapped = number == call_sendfile;
	u32 from = swapped ? of[1] : of[0];
	u32 to = swapped ? of[0] : of[2];
	bool read = add_descriptor(match, from, operation_read, bytes);

	return add_descriptor(match, to, operation_write, bytes) || read;
}

/* Whether that is so of what a call has read or written, where memory is read without calls. */
static __always_inline bool call_is_left_out(u32 fd, enum operation operation)
{
	if (!can_cast() || (operation != operation_read && operation != operation_write))
		return false;
	return is_left_out(file_type(file_of(fd)));
}

static __always_inline int call_ended(struct pt_regs *regs, s64 result)
{
	s32 number = call_number(regs);
	enum operation operation = operation_of(number);
	struct call_arguments given;
	struct match match = {};
	struct call call = {};
	bool counted;

	if (!operation || (!histogram_wanted && result < 0))
		return 0;
	call_arguments(&given, regs);
	if (call_is_left_out(given.of[0], operation) || !match_current(&match))
		return 0;
	if (histogram_wanted)
		call = call_end(number);
	if (result < 0)
		return 0;
	if (operation == operation_copy)
		counted = add_copy(&match, given.of, number, result);
	else
		counted = add_descriptor(
			&match, operation == operation_open ? result : given.of[0],
			operation, result);
	if (counted && call.began)
		add_duration(&match, operation, call.began);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	call_ended(regs, result);
	return chain_go_on(ctx, call_number(regs));
}

/* ---- by the kernel's functions ---- */

/* What a call did: which file it read from or opened, and which it wrote to; NULL: none. */
static __always_inline int ended(enum operation operation, const struct file *from,
				 const struct file *to, s64 result)
{
	struct match match = {};
	struct call call = {};
	bool counted = false;

	if ((!histogram_wanted && result < 0) || !match_current(&match))
		return 0;
	if (histogram_wanted)
		call = call_end(-1);
	if (result < 0)
		return 0;
	if (from)
		counted = add(&match, from, operation == operation_open ? operation : operation_read,
			      result);
	if (to)
		counted |= add(&match, to, operation_write, result);
	if (counted && call.began && operation_of(call.number) == operation)
		add_duration(&match, operation, call.began);
	return 0;
}

static __always_inline int moved(enum operation operation, const struct file *file, s64 result)
{
	if (is_left_out(file->f_inode->i_mode))
		return 0;
	return operation == operation_read ? ended(operation, file, NULL, result)
					   : ended(operation, NULL, file, result);
}

SEC("fexit/vfs_read")
int BPF_PROG(read_ends, struct file *file, char *buffer, u64 count, s64 *position, s64 result)
{
	return moved(operation_read, file, result);
}

SEC("fexit/vfs_readv")
int BPF_PROG(readv_ends, struct file *file, const void *vector, u64 count, s64 *position, s32 flags,
	     s64 result)
{
	return moved(operation_read, file, result);
}

SEC("fexit/vfs_write")
int BPF_PROG(write_ends, struct file *file, const char *buffer, u64 count, s64 *position, s64 result)
{
	return moved(operation_write, file, result);
}

SEC("fexit/vfs_writev")
int BPF_PROG(writev_ends, struct file *file, const void *vector, u64 count, s64 *position,
	     s32 flags, s64 result)
{
	return moved(operation_write, file, result);
}

/* What opens returns an int on some kernels, whose upper half says nothing. */
SEC("fexit/do_sys_openat2")
int BPF_PROG(open_ends, s32 directory, const char *name, const void *how, s32 result)
{
	return ended(operation_open, result < 0 ? NULL : file_of(result), NULL, result);
}

SEC("fexit/do_handle_open")
int BPF_PROG(open_by_handle_ends, s32 mount, const void *handle, s32 flags, s32 result)
{
	return ended(operation_open, result < 0 ? NULL : file_of(result), NULL, result);
}

SEC("fexit/do_sendfile")
int BPF_PROG(sendfile_ends, s32 to, s32 from, s64 *position, u64 count, s64 most, s64 result)
{
	return ended(operation_copy, file_of(from), file_of(to), result);
}

SEC("fexit/do_splice")
int BPF_PROG(splice_ends, struct file *from, s64 *position, struct file *to, s64 *to_position,
	     u64 length, u32 flags, s64 result)
{
	return ended(operation_copy, from, to, result);
}

/* An overlay calls it again, for the files below. They are marked as none that a process opened. */
SEC("fexit/vfs_copy_file_range")
int BPF_PROG(copy_ends, struct file *from, s64 position, struct file *to, s64 to_position,
	     u64 length, u32 flags, s64 result)
{
	enum { FMODE_NOACCOUNT = 1 << 29 }; /* include/linux/fs.h */

	if (from->f_mode & FMODE_NOACCOUNT)
		return 0;
	return ended(operation_copy, from, to, result);
}
