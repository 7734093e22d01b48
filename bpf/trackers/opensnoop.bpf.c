// SPDX-License-Identifier: GPL-2.0
/* Files that processes open, or try to: open, openat, openat2 and creat.
 *
 * One hook a call, and no state kept between two, is what makes it cheap. Where the kernel's function
 * can be hooked that all of them come to, by whichever way into the kernel, no other call is slowed.
 * Otherwise the end of each system call is: the arguments are still in the registers that it came with.
 * The path's page has just been read by the kernel itself, so that it can be read without a fault.
 * Opens by io_uring pass by another way: unseen.
 */
#include "call.h"

struct event {
	struct subject who;
	fd_t fd;
	errno_t error;
	open_flags_t flags;
	file_mode_t mode;
	path_t path;
};
enum { EVENT_TAIL = PATH_MAX };

#include "chain.h"
#include "events.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool failed_only = false;
const volatile s32 flag_mask = 0;
const volatile char prefix[64] = "";

WHERE(fd);
WHERE(error);

/* include/uapi/asm-generic/fcntl.h: the same on x86 and arm64 */
enum { O_WRONLY = 01, O_CREAT = 0100, O_TRUNC = 01000, __O_TMPFILE = 020000000 };
#if defined(__TARGET_ARCH_x86)
enum { O_LARGEFILE = 0100000 };
#else
enum { O_LARGEFILE = 0400000 };
#endif

/* include/uapi/linux/openat2.h */
struct open_how {
	u64 flags, mode, resolve;
};

struct request {
	const char *path;
	u64 flags;
	u64 mode;
};

/* Whether the path that was read begins with `prefix`. Global: see admit_for_jobs in events.h. */
__weak int has_prefix(u32 length)
{
	const struct scratch *slot = this_scratch();

	if (!slot)
		return false;
	for (u32 i = 0; i < sizeof(prefix) && prefix[i]; i++)
		if (i >= length || slot->tail[i] != (u8)prefix[i])
			return false;
	return true;
}

static __always_inline int opened(struct match *match, s64 result, const struct request *request)
{
	if (flag_mask && !(request->flags & flag_mask))
		return 0;
	struct event *event = event_begin(match);

	if (!event)
		return 0;
	event->fd = result < 0 ? -1 : result;
	event->error = result < 0 ? -result : 0;
	event->flags = request->flags;
	event->mode = request->flags & (O_CREAT | __O_TMPFILE) ? request->mode : 0;
	event->path = event_user_string(request->path, PATH_MAX);
	if ((prefix[0] && !has_prefix(event->path >> 16)) || !event_admit(match))
		return event_cancel();
	return event_send(match);
}

static __always_inline bool wanted(struct match *match, s64 result)
{
	return !(failed_only && result >= 0) && match_current(match) &&
	       within(&where_fd, result < 0 ? -1 : result) &&
	       within(&where_error, result < 0 ? -result : 0);
}

/* ---- where only system calls can be hooked ---- */

#if defined(__TARGET_ARCH_x86)
enum number { call_open = 2, call_creat = 85, call_openat = 257, call_openat2 = 437 };
#else
enum number { call_openat = 56, call_openat2 = 437, call_open = -2, call_creat = -3 /* not there */ };
#endif

const volatile u8 chained_calls[CHAINED_CALLS] = {
#if defined(__TARGET_ARCH_x86)
	[call_open] = true,
	[call_creat] = true,
#endif
	[call_openat] = true,
	[call_openat2] = true,
};

static __always_inline void request_of(struct request *request, s32 number, const u64 *of)
{
	struct open_how how = {};

	switch (number) {
	case call_open:
		how = (struct open_how){.flags = of[1], .mode = of[2]};
		break;
	case call_creat:
		how = (struct open_how){.flags = O_CREAT | O_WRONLY | O_TRUNC, .mode = of[1]};
		break;
	case call_openat:
		how = (struct open_how){.flags = of[2], .mode = of[3]};
		break;
	case call_openat2:
		bpf_probe_read_user(&how, sizeof(how), (const void *)of[2]);
		break;
	}
	request->path = (const char *)(number == call_open || number == call_creat ? of[0] : of[1]);
	request->flags = how.flags;
	request->mode = how.mode;
}

static __always_inline int call_ended(struct pt_regs *regs, s64 result)
{
	s32 number = call_number(regs);
	struct match match = {};
	struct call_arguments call;
	struct request request;

	if (!chained_calls[chained_call(number)] || !wanted(&match, result))
		return 0;
	call_arguments(&call, regs);
	request_of(&request, number, call.of);
	return opened(&match, result, &request);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	call_ended(regs, result);
	return chain_go_on(ctx, call_number(regs));
}

/* ---- where the kernel's function can be hooked ---- */

/* It returns an int on some kernels, whose upper half says nothing. The kernel itself adds O_LARGEFILE
 * to the flags. */
SEC("fexit/do_sys_openat2")
int BPF_PROG(open_ends, s32 directory, const char *path, const struct open_how *how, s32 result)
{
	struct match match = {};

	if (wanted(&match, result)) {
		struct request request = {
			.path = path,
			.flags = how->flags & ~(u64)O_LARGEFILE,
			.mode = how->mode,
		};

		opened(&match, result, &request);
	}
	return 0;
}
