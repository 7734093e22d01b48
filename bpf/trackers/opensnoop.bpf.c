// SPDX-License-Identifier: GPL-2.0
/* Files that processes open, or try to: open, openat, openat2 and creat.
 *
 * Only the end of each call is hooked. The arguments are still in the registers that the call came
 * with, and the path's page has just been read by the kernel itself, so that it can be read here
 * without a fault. One hook a call, and no state kept between two, is what makes it cheap. Calls
 * that seccomp refused have an end without a beginning: they are seen too.
 * Opens by io_uring, and those of 32-bit programs on a 64-bit kernel, pass by other ways: unseen.
 */
#include "eunomia.h"

struct event {
	struct subject who;
	fd_t fd;
	errno_t error;
	open_flags_t flags;
	file_mode_t mode;
	path_t path;
};
enum { EVENT_TAIL = PATH_MAX };

#include "events.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool failed_only = false;
const volatile s32 flag_mask = 0;
const volatile char prefix[64] = "";

WHERE(fd);
WHERE(error);

/* include/uapi/asm-generic/fcntl.h: the same on x86 and arm64 */
enum { O_WRONLY = 01, O_CREAT = 0100, O_TRUNC = 01000, __O_TMPFILE = 020000000 };

/* include/uapi/linux/openat2.h */
struct open_how {
	u64 flags, mode, resolve;
};

struct request {
	const char *path;
	u64 flags;
	u64 mode;
};

static __always_inline struct pt_regs *call_registers(void)
{
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

#if defined(__TARGET_ARCH_x86)
#define FIRST_ARGUMENT(regs) ((regs)->di)
#define SECOND_ARGUMENT(regs) ((regs)->si)
#define THIRD_ARGUMENT(regs) ((regs)->dx)
#define FOURTH_ARGUMENT(regs) ((regs)->r10)
#else
/* The first one shares its register with the result: not to be had at the end of a call. */
#define SECOND_ARGUMENT(regs) ((regs)->regs[1])
#define THIRD_ARGUMENT(regs) ((regs)->regs[2])
#define FOURTH_ARGUMENT(regs) ((regs)->regs[3])
#endif

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

SEC("tracepoint/syscalls/sys_exit_openat")
int openat_end(struct syscall_exit *call)
{
	struct match match = {};

	if (!wanted(&match, call->result))
		return 0;
	struct pt_regs *regs = call_registers();
	struct request request = {
		.path = (const char *)SECOND_ARGUMENT(regs),
		.flags = THIRD_ARGUMENT(regs),
		.mode = FOURTH_ARGUMENT(regs),
	};

	return opened(&match, call->result, &request);
}

SEC("tracepoint/syscalls/sys_exit_openat2")
int openat2_end(struct syscall_exit *call)
{
	struct match match = {};
	struct open_how how = {};

	if (!wanted(&match, call->result))
		return 0;
	struct pt_regs *regs = call_registers();

	bpf_probe_read_user(&how, sizeof(how), (const void *)THIRD_ARGUMENT(regs));
	struct request request = {
		.path = (const char *)SECOND_ARGUMENT(regs),
		.flags = how.flags,
		.mode = how.mode,
	};

	return opened(&match, call->result, &request);
}

#ifdef FIRST_ARGUMENT
/* arm64 has neither of these two calls. */
SEC("tracepoint/syscalls/sys_exit_open")
int open_end(struct syscall_exit *call)
{
	struct match match = {};

	if (!wanted(&match, call->result))
		return 0;
	struct pt_regs *regs = call_registers();
	struct request request = {
		.path = (const char *)FIRST_ARGUMENT(regs),
		.flags = SECOND_ARGUMENT(regs),
		.mode = THIRD_ARGUMENT(regs),
	};

	return opened(&match, call->result, &request);
}

SEC("tracepoint/syscalls/sys_exit_creat")
int creat_end(struct syscall_exit *call)
{
	struct match match = {};

	if (!wanted(&match, call->result))
		return 0;
	struct pt_regs *regs = call_registers();
	struct request request = {
		.path = (const char *)FIRST_ARGUMENT(regs),
		.flags = O_CREAT | O_WRONLY | O_TRUNC,
		.mode = SECOND_ARGUMENT(regs),
	};

	return opened(&match, call->result, &request);
}
#endif
