# SPDX-License-Identifier: Apache-2.0
"""Waits until all programs that were running in the kernel have come to their end."""

import ctypes
import platform
import time

MEMBARRIER = {"x86_64": 324, "aarch64": 283}
GLOBAL = 1
"""MEMBARRIER_CMD_GLOBAL: kernel/sched/membarrier.c waits for an RCU grace period, and every BPF
program that is attached to a tracepoint runs inside a read-side section (kernel/trace/bpf_trace.c).
"""
PATIENCE_SECONDS = 0.02
"""Where there is no such system call, or it is refused: far longer than a program may run."""

_libc = ctypes.CDLL(None, use_errno=True)


def wait_for_programs() -> None:
    """Return when no program is running that began before the call. Takes some milliseconds."""
    number = MEMBARRIER.get(platform.machine())
    if number is None or _libc.syscall(number, GLOBAL, 0, 0):
        time.sleep(PATIENCE_SECONDS)
