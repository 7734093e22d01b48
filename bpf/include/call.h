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
		return number_of_compat(number);
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

struct call_arguments {
	u64 of[6];
};

#if defined(__TARGET_ARCH_x86)
/* Those of 32-bit programs. */
struct pt_regs___compat {
	unsigned long bx, cx, dx, si, di, bp;
} __attribute__((preserve_access_index));
#endif

static __always_inline void call_arguments(struct call_arguments *to, const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	if (call_is_compat()) {
		const struct pt_regs___compat *compat = (const void *)regs;

		to->of[0] = (u32)compat->bx;
		to->of[1] = (u32)compat->cx;
		to->of[2] = (u32)compat->dx;
		to->of[3] = (u32)compat->si;
		to->of[4] = (u32)compat->di;
		to->of[5] = (u32)compat->bp;
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
