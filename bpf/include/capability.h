// SPDX-License-Identifier: GPL-2.0
/* Checks of capabilities: cap_capable() of security/commoncap.c. */
#pragma once

#include "syscall.h"

/* include/uapi/linux/capability.h */
enum {
	CAP_SYS_MODULE = 16,
	CAP_SYS_RAWIO = 17,
	CAP_SYS_PACCT = 20,
	CAP_SYS_ADMIN = 21,
	CAP_SYS_BOOT = 22,
};

/* include/linux/security.h: a check that leaves no trace in the audit log, as it only looks */
enum { CAP_OPT_NOAUDIT = 2 };

/* Whether it is only asked if there may be more memory than there is, as every mapping does: see
 * cap_vm_enough_memory() there. Nothing is refused where not. */
static __always_inline bool is_about_memory(u32 capability, s32 number)
{
#if defined(__TARGET_ARCH_x86)
	enum { MMAP = 9, MPROTECT = 10, MUNMAP = 11, BRK = 12, MREMAP = 25, SHMAT = 30 };
	enum { CLONE = 56, FORK = 57, VFORK = 58, EXECVE = 59, EXECVEAT = 322 };
#else
	enum { SHMAT = 196, BRK = 214, MUNMAP = 215, MREMAP = 216, CLONE = 220, EXECVE = 221 };
	enum { MMAP = 222, MPROTECT = 226, EXECVEAT = 281, FORK = CLONE, VFORK = CLONE };
#endif
	enum { CLONE3 = 435 };

	return capability == CAP_SYS_ADMIN &&
	       (number < 0 || number == MMAP || number == MPROTECT || number == MUNMAP ||
		number == BRK || number == MREMAP || number == SHMAT || number == CLONE ||
		number == FORK || number == VFORK || number == EXECVE || number == EXECVEAT ||
		number == CLONE3);
}

/* Whether it is the current task that is asked about, as itself: not whoever mounted a file system,
 * whose credentials overlayfs takes on for a while, nor whoever opened a file. */
static __always_inline bool is_own(const struct cred *cred)
{
	return cred == bpf_get_current_task_btf()->real_cred;
}
