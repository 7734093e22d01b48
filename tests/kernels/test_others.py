# SPDX-License-Identifier: Apache-2.0
"""The trackers under the oldest kernel that we speak for, Debian 12's, in an emulator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.command import found
from dev.kernels.machine import EMULATOR

PROJECT = Path(__file__).parents[2]


@pytest.mark.bpf
@pytest.mark.timeout(1600)
@pytest.mark.skipif(os.geteuid() != 0, reason="the emulated machine is given this one's files")
@pytest.mark.skipif(not found(EMULATOR), reason=f"needs {EMULATOR} (qemu-system-x86)")
def test_every_tracker_runs_under_debian_12s_kernel() -> None:
    tests = "tests/kernels/test_trackers.py"
    ended = subprocess.run(
        [sys.executable, "-m", "dev.kernels", "6.1", "--tests", tests],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, f"{ended.stdout[-4000:]}\n{ended.stderr[-1000:]}"
    assert " passed" in ended.stdout
