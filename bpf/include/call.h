// SPDX-License-Identifier: GPL-2.0
/* A system call at its end: which one, and with which arguments, whichever way it took into the
 * kernel.
 *
 * The registers still hold the arguments that the call came with. CALL_NUMBER and CALL_ARGUMENT_… are
 * those of the machine's own calls; call_number and call_arguments know the other ones, too.
 */
#pragma once

#include "compat.h"

#if defined(__TARGET_ARCH_x86)
#define CALL_NUMBER(regs) ((s32)(regs)->orig_ax)
#define CALL_ARGUMENT_0(regs) ((regs)->di)
#define CALL_ARGUMENT_1(regs) ((regs)->si)
#define CALL_ARGUMENT_2(regs) ((regs)->dx)
#define CALL_ARGUMENT_3(regs) ((regs)->r10)
#define CALL_ARGUMENT_4(regs) ((regs)->r8)
#define CALL_ARGUMENT_5(regs) ((regs)->r9)
#else
/* The first register holds the result by now. */
#define CALL_NUMBER(regs) ((regs)->syscallno)
#define CALL_ARGUMENT_0(regs) ((regs)->orig_x0)
#define CALL_ARGUMENT_1(regs) ((regs)->regs[1])
#define CALL_ARGUMENT_2(regs) ((regs)->regs[2])
#define CALL_ARGUMENT_3(regs) ((regs)->regs[3])
#define CALL_ARGUMENT_4(regs) ((regs)->regs[4])
#define CALL_ARGUMENT_5(regs) ((regs)->regs[5])
#endif

/* include/linux/err.h */
enum { MAX_ERRNO = 4095 };

static __always_inline bool is_error(s64 result)
{
	return result < 0 && result >= -MAX_ERRNO;
}

/* Whether it came by a way that has another table of numbers: that of 32-bit programs. */
static __always_inline bool call_is_compat(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
#if defined(__TARGET_ARCH_x86)
	enum { TS_COMPAT = 2 }; /* arch/x86/include/asm/thread_info.h */

	return task->thread_info.status & TS_COMPAT;
#else
	enum { TIF_32BIT = 22 }; /* arch/arm64/include/asm/thread_info.h */

	return task->thread_info.flags & 1ul << TIF_32BIT;
#endif
}

/* The call's number in the machine's own table; -1: it has none there. */
static __always_inline s32 call_number(const struct pt_regs *regs)
{
	s32 number = CALL_NUMBER(regs);

#if defined(__TARGET_ARCH_x86)
	if (call_is_compat())
		return number_of_compat(number, regs->bx);
	return number >= X32_BIT ? number_of_x32(number - X32_BIT) : number;
#else
	return call_is_compat() ? -1 : number;
#endif
}

/* Of the call that the current task is in. */
static __always_inline struct pt_regs *current_registers(void)
{
	return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
}

/* Negative: none, or one that the machine's own table lacks. */
static __always_inline s32 current_call(void)
{
	return call_number(current_registers());
}

/* Whether the pointers in the memory that it was given are of 4 bytes. */
static __always_inline bool call_is_narrow(const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return call_is_compat() || CALL_NUMBER(regs) >= X32_BIT;
#else
	return call_is_compat();
#endif
}

struct call_arguments {
	u64 of[6];
};

/* As they were given: of what stands for many calls, see call_arguments_meant. */
static __always_inline void call_arguments(struct call_arguments *to, const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	if (call_is_compat()) {
		to->of[0] = (u32)regs->bx;
		to->of[1] = (u32)regs->cx;
		to->of[2] = (u32)regs->dx;
		to->of[3] = (u32)regs->si;
		to->of[4] = (u32)regs->di;
		to->of[5] = (u32)regs->bp;
		return;
	}
#endif
	to->of[0] = CALL_ARGUMENT_0(regs);
	to->of[1] = CALL_ARGUMENT_1(regs);
	to->of[2] = CALL_ARGUMENT_2(regs);
	to->of[3] = CALL_ARGUMENT_3(regs);
	to->of[4] = CALL_ARGUMENT_4(regs);
	to->of[5] = CALL_ARGUMENT_5(regs);
}

#if defined(__TARGET_ARCH_x86)
/* Puts the arguments of ipc(2) in the order of the call that it stands for. ipc/syscall.c */
static __always_inline void arguments_of_ipc(u64 *of)
{
	enum { SEMOP = 1, SEMTIMEDOP = 4, MSGSND = 11, MSGRCV = 12, SHMAT = 21, SHMDT = 22 };
	u32 which = of[0] & IPC_CALL;
	u64 first = of[1], second = of[2], third = of[3], pointer = of[4], fifth = of[5];
	bool before = which == SEMOP || which == SEMTIMEDOP || which == MSGSND ||
		      which == MSGRCV || which == SHMAT;

	of[0] = which == SHMDT ? pointer : first;
	of[1] = before ? pointer : second;
	of[2] = before ? second : third;
	of[3] = which == MSGSND ? third : before ? fifth : pointer;
	of[4] = third;
}

/* Those of socketcall(2) are words in the process' memory, where another of its threads may have changed
 * them. Each is read by itself: there may be nothing behind the last one that the call takes. */
static __always_inline void arguments_of_socketcall(u64 *of)
{
	u64 words = of[1];

#pragma unroll
	for (u32 at = 0; at < 6; at++) {
		u32 word = 0;

		bpf_probe_read_user(&word, sizeof(word), (const void *)(words + at * sizeof(word)));
		of[at] = word;
	}
}
#endif

/* The arguments of the call that a call stands for. */
static __always_inline void call_arguments_meant(struct call_arguments *to, const struct pt_regs *regs)
{
	call_arguments(to, regs);
#if defined(__TARGET_ARCH_x86)
	if (!call_is_compat())
		return;
	if (CALL_NUMBER(regs) == COMPAT_IPC)
		arguments_of_ipc(to->of);
	else if (CALL_NUMBER(regs) == COMPAT_SOCKETCALL)
		arguments_of_socketcall(to->of);
#endif
}
