// SPDX-License-Identifier: GPL-2.0
/* The numbers that calls have by other ways into the kernel than the machine's own, on x86: that of 32-bit
 * programs, which every program can take (int 0x80), and that of the x32 ABI, where a kernel offers it.
 */
#pragma once

#include "eunomia.h"

#if defined(__TARGET_ARCH_x86)
/* By the number of a 32-bit program's call that of the same call in a 64-bit one; -1: there is none. From
 * the end of the list on both are the same. arch/x86/entry/syscalls/syscall_32.tbl */
enum { COMPAT_NUMBERS = 424 };
static const volatile s16 compat_numbers[512] SEC(".rodata.numbers") = {
	219, 60, 57, 0, 1, 2, 3, 61, 85, 86, 87, 59,
	80, 201, 133, 90, 94, -1, 4, 8, 39, 165, 166, 105,
	102, 164, 101, 37, 5, 34, 132, -1, -1, 21, -1, -1,
	162, 62, 82, 83, 84, 32, 22, 100, -1, 12, 106, 104,
	13, 107, 108, 163, 166, -1, 16, 72, -1, 109, -1, 63,
	95, 161, 136, 33, 110, 111, 112, 13, -1, -1, 113, 114,
	130, 127, 170, 160, 97, 98, 96, 164, 115, 116, 23, 88,
	6, 89, 134, 167, 169, 78, 9, 11, 76, 77, 91, 93,
	140, 141, -1, 137, 138, 173, -1, 103, 38, 36, 4, 6,
	5, 63, 172, 153, -1, -1, 61, 168, 99, -1, 74, 15,
	56, 171, 63, 154, 159, 10, 14, 174, 175, 176, 177, 179,
	121, 81, -1, 139, 135, 183, 122, 123, 8, 78, 23, 73,
	26, 19, 20, 124, 75, 156, 149, 150, 151, 152, 142, 143,
	144, 145, 24, 146, 147, 148, 35, 25, 117, 118, -1, 178,
	7, 180, 119, 120, 157, 15, 13, 14, 127, 128, 129, 130,
	17, 18, 92, 79, 125, 126, 131, 40, 181, 182, 58, 97,
	9, 76, 77, 4, 6, 5, 94, 102, 104, 107, 108, 113,
	114, 115, 116, 93, 117, 118, 119, 120, 92, 105, 106, 122,
	123, 155, 27, 28, 217, 72, -1, -1, 186, 187, 188, 189,
	190, 191, 192, 193, 194, 195, 196, 197, 198, 199, 200, 40,
	202, 203, 204, 205, 211, 206, 207, 208, 209, 210, 221, -1,
	231, 212, 213, 233, 232, 216, 218, 222, 223, 224, 225, 226,
	227, 228, 229, 230, 137, 138, 234, 235, 221, 236, 237, 239,
	238, 240, 241, 242, 243, 244, 245, 246, 247, -1, 248, 249,
	250, 251, 252, 253, 254, 255, 256, 257, 258, 259, 260, 261,
	262, 263, 264, 265, 266, 267, 268, 269, 270, 271, 272, 273,
	274, 275, 277, 276, 278, 279, 309, 281, 280, 282, 283, 284,
	285, 286, 287, 289, 290, 291, 292, 293, 294, 295, 296, 297,
	298, 299, 300, 301, 302, 303, 304, 305, 306, 307, 308, 310,
	311, 312, 313, 314, 315, 316, 317, 318, 319, 321, 322, 41,
	53, 49, 42, 50, 288, 55, 54, 51, 52, 44, 46, 45,
	47, 48, 323, 324, 325, 326, 327, 328, 329, 330, 331, 332,
	158, 333, 334, -1, -1, -1, -1, -1, -1, 64, 66, 29,
	31, 30, 67, 68, 69, 70, 71, 228, 227, 305, 229, 230,
	224, 223, 287, 286, 280, 270, 271, -1, 333, 299, 242, 243,
	220, 128, 202, 148,
};

/* Two of them stand for many, and their first argument says for which one. include/uapi/linux/net.h,
 * include/uapi/linux/ipc.h */
enum { COMPAT_SOCKETCALL = 102, COMPAT_IPC = 117 };
enum { SOCKETCALL_NUMBERS = 21, IPC_NUMBERS = 25, IPC_CALL = 0xffff };
static const volatile s16 socketcall_numbers[32] SEC(".rodata.numbers") = {
	-1, 41, 49, 42, 50, 43, 51, 52, 53, 44, 45,
	44, 45, 48, 54, 55, 46, 47, 288, 299, 307,
};
static const volatile s16 ipc_numbers[32] SEC(".rodata.numbers") = {
	-1, 65, 64, 66, 220, -1, -1, -1, -1, -1, -1, 69, 70,
	68, 71, -1, -1, -1, -1, -1, -1, 30, 67, 29, 31,
};

/* Those of x32 that are not the same, from X32_FIRST on. arch/x86/entry/syscalls/syscall_64.tbl */
enum { X32_BIT = 1 << 30, X32_FIRST = 512, X32_NUMBERS = 36 };
static const volatile s16 x32_numbers[64] SEC(".rodata.numbers") = {
	13, 15, 16, 19, 20, 45, 46, 47, 59, 101, 127, 128,
	129, 131, 222, 244, 246, 247, 273, 274, 278, 279, 295, 296,
	297, 299, 307, 310, 311, 54, 55, 206, 209, 322, 327, 328,
};

/* There is more room in the lists than they need: the verifier then takes a mask for the bound, which the
 * compiler must not take out. */
static __always_inline s32 number_listed(const volatile s16 *numbers, u32 count, u32 number)
{
	u64 at = number;

	barrier_var(at);
	return number < count ? numbers[at & 31] : -1;
}

/* first: the call's first argument. */
static __always_inline s32 number_of_compat(u32 number, u32 first)
{
	u64 at = number;

	if (number == COMPAT_SOCKETCALL)
		return number_listed(socketcall_numbers, SOCKETCALL_NUMBERS, first);
	if (number == COMPAT_IPC)
		return number_listed(ipc_numbers, IPC_NUMBERS, first & IPC_CALL);
	barrier_var(at);
	return number < COMPAT_NUMBERS ? compat_numbers[at & 511] : (s32)number;
}

static __always_inline s32 number_of_x32(u32 number)
{
	u32 behind = number - X32_FIRST;
	u64 at = behind;

	barrier_var(at);
	return behind < X32_NUMBERS ? x32_numbers[at & 63] : (s32)number;
}
#endif
