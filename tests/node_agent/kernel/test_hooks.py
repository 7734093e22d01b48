# SPDX-License-Identifier: Apache-2.0
"""Hooks of a kernel that does not tell its types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TYPES = Path("/sys/kernel/btf")


@pytest.mark.bpf
@pytest.mark.skipif(os.geteuid() != 0, reason="hiding the kernel's types needs root")
@pytest.mark.skipif(not TYPES.exists(), reason="the kernel has no BTF to hide")
@pytest.mark.parametrize(
    "section", ["tp_btf/sys_exit", "fexit/vfs_read", "perf_event", "iter/task"]
)
def test_without_the_kernels_types_each_says_that_they_are_missing(section: str) -> None:
    program = f"from eunomia_agent.kernel import hooks; print(hooks.missing({section!r}))"
    hidden = f'mount -t tmpfs none {TYPES} && exec {sys.executable} -c "$0"'
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, program],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout == "the kernel's types (BTF) are not at /sys/kernel/btf/vmlinux\n"
