// SPDX-License-Identifier: GPL-2.0
/* The kernel's per-CPU memory, read from any CPU.
 *
 *	struct some *theirs = per_cpu(found->some_percpu_pointer, cpu);	NULL: no such CPU
 *
 * A per-CPU pointer is an offset, and how far each CPU's memory is from it is the same for all such
 * pointers (include/linux/percpu-defs.h, SHIFT_PERCPU_PTR). A kernel may be built without the names
 * of its own per-CPU variables; so that distance is taken from a map of ours, of which both the
 * pointer and each CPU's element can be had.
 */
#pragma once

#include "eunomia.h"

enum { MAX_CPUS = 8192 };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} percpu_anchor SEC(".maps");

/* What goes through memory is a plain number to the verifier. */
static __always_inline u64 address(void *pointer, u64 *through)
{
	*through = (u64)pointer;
	return *(volatile u64 *)through;
}

static __always_inline void *per_cpu(const void *pointer, u32 cpu)
{
	u32 zero = 0;
	void *anchor = NULL;
	u64 *there = bpf_map_lookup_percpu_elem(&percpu_anchor, &zero, cpu);

	if (!there || !pointer)
		return NULL;
	struct bpf_array *array = (void *)address(&percpu_anchor, there);

	bpf_core_read(&anchor, sizeof(anchor), &array->pptrs);
	return (void *)(pointer + (address(there, there) - (u64)anchor));
}
