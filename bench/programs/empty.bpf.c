// SPDX-License-Identifier: GPL-2.0

// What any program on the beginning of system calls costs.
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sys_enter")
int BPF_PROG(nothing)
{
	return 0;
}
