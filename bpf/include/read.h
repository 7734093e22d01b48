// SPDX-License-Identifier: GPL-2.0
/* Members of kernel structs of which nothing but the address is known. */
#pragma once

#include "eunomia.h"

/* A kernel that can take an address for a pointer to a struct reads the member by a plain load, at a
 * tenth of what a helper costs; a page that is not there reads as 0, as with a helper. The enum is
 * its own list of such functions: kernel/bpf/verifier.c. */
enum special_kfunc_type {
	KF_bpf_rdonly_cast = 1, /* its value is the running kernel's own */
};
extern void *bpf_rdonly_cast(const void *address, u32 type) __ksym __weak;

static __always_inline bool can_cast(void)
{
	return bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rdonly_cast);
}

/* READ(struct file, address, f_inode) */
#define READ(type, address, member)                                                        \
	(can_cast() ? ((type *)bpf_rdonly_cast(address, bpf_core_type_id_kernel(type)))->member \
		    : BPF_CORE_READ((type *)(address), member))

/* What a pointer to a pointer points to. */
static __always_inline void *read_pointer(const void *address)
{
	void *pointer = NULL;

	if (can_cast())
		return READ(struct hlist_head, address, first);
	bpf_probe_read_kernel(&pointer, sizeof(pointer), address);
	return pointer;
}
