// SPDX-License-Identifier: GPL-2.0
/* System calls of each process, counted by their number.
 *
 * Only the end of each call is hooked, unless it is asked how long they take: any program on these
 * tracepoints costs every call of every process, so that what is no target leaves after one look-up.
 */
#include "syscall.h"
#include "tally.h"

struct count_key {
	struct tallied who;
	tgid_t pid;
	syscall_t syscall;
};
struct count_value {
	u64 count;
	u64 errors;
	duration_t duration;
	duration_t max_duration;
	comm_t comm;
};
enum { MAX_COUNTS = 10240 };

struct histogram_key {
	struct tallied who;
	syscall_t syscall;
	u32 pad;
};
enum { MAX_HISTOGRAMS = 1024 };

#include "counts.h"
#include "histogram.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool failed_only = false;
const volatile u32 error = 0;
const volatile bool latency = false;
const volatile bool histogram_wanted = false;
const volatile bool by_process = false;
WHERE(syscall);

static __always_inline bool is_timed(void)
{
	return latency || histogram_wanted;
}

/* The largest of what was seen. A race that is lost four times leaves the other one's. */
static __always_inline void keep_longest(u64 *longest, u64 duration)
{
#pragma unroll
	for (int attempt = 0; attempt < 4; attempt++) {
		u64 before = *longest;

		if (duration <= before)
			return;
		if (__sync_val_compare_and_swap(longest, before, duration) == before)
			return;
	}
}

static __always_inline void add_duration(const struct match *match, struct count_value *value,
					 s32 number, u64 duration)
{
	if (latency) {
		__sync_fetch_and_add(&value->duration, duration);
		keep_longest(&value->max_duration, duration);
	}
	if (histogram_wanted) {
		struct histogram_key key = {.syscall = number};

		histogram_add(match, &key, duration);
	}
}

static __always_inline bool wanted(s32 number, s64 result)
{
	return !(failed_only && !is_error(result)) && !(error && result != -(s64)error) &&
	       within(&where_syscall, number);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_begins, struct pt_regs *regs, long number)
{
	struct match match = {};

	if (is_timed() && match_current(&match))
		call_begin(call_number(regs));
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	struct match match = {};
	struct call call = {};
	s32 number = call_number(regs);

	if ((!is_timed() && !wanted(number, result)) || !match_current(&match))
		return 0;
	if (is_timed()) {
		call = call_end(number);
		number = call.number;
		if (!wanted(number, result))
			return 0;
	}
	if (number < 0 || call_is_of_parent(number, result))
		return 0;
	struct count_key key = {
		.pid = bpf_get_current_pid_tgid() >> 32,
		.syscall = by_process ? -1 : number,
	};
	struct count_value *value = count_find(&match, &key);

	if (!value) {
		struct count_value fresh = {};

		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
		value = count_open(&match, &key, &fresh);
		if (!value)
			return 0;
	}
	count_one(value);
	if (is_error(result))
		__sync_fetch_and_add(&value->errors, 1);
	if (call.began)
		add_duration(&match, value, number, bpf_ktime_get_ns() - call.began);
	return 0;
}
