# SPDX-License-Identifier: Apache-2.0
"""System calls in a cgroup, counted: exactly those that were made."""

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)
GETPPID = 110


def test_each_call_is_counted_once(track: Any, spawn: Any, cgroup: Path) -> None:
    tracked = track("syscall", without=["tp_btf/sys_enter"])
    pid = spawn(lambda: [libc.syscall(GETPPID) for _ in range(1000)])
    os.waitpid(pid, 0)
    rows = tracked.counts()
    print(rows)
    [row] = [row for row in rows if row["syscall"] == GETPPID]
    assert row["count"] == 1000
