// SPDX-License-Identifier: GPL-2.0
/* The first of a chain of trackers' programs at the end of system calls. */
#include "chain.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs)
{
	return chain_go_on(ctx, call_number(regs));
}
