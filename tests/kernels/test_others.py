# SPDX-License-Identifier: Apache-2.0
"""The trackers under the oldest kernel that we speak for, Debian 12's, in an emulator."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev.command import found

PROJECT = Path(__file__).parents[2]
EMULATOR = "qemu-system-x86_64"
COMMAND = [sys.executable, "-m", "dev.kernels", "6.1", "--seconds", "900", "--tests"]
EACH = "tests/kernels/test_trackers.py"
EXACTLY = [  # by hooks that this machine may not have
    "tests/node_agent/test_denying.py::"
    "test_what_breaks_the_rule_is_refused_and_told_until_the_policy_goes",
    "tests/node_agent/test_denying_calls.py::"
    "test_what_a_process_may_not_do_anyway_is_reported_as_an_attempt",
    "tests/bpf/test_deny.py::test_a_script_is_denied_by_what_interprets_it",
    "tests/bpf/test_deny.py::test_nothing_is_denied_to_whom_it_may_not_be",
    "tests/bpf/test_files.py::test_every_operation_is_counted_with_its_bytes",
    "tests/bpf/test_tcp.py::test_a_refused_connect_says_so_and_has_no_end",
    "tests/bpf/test_tcp.py::test_whoever_accepts_owns_the_connection_and_not_who_listened",
]

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="the emulated machine is given this one's files"),
    pytest.mark.skipif(not found(EMULATOR), reason=f"needs {EMULATOR} (qemu-system-x86)"),
]


def with_environment(entry: bytes, program: bytes) -> list[int]:
    """The processes of a program that were started with an entry in their environment."""
    pids: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(program) and entry in (folder / "environ").read_bytes():
                pids.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return pids


@pytest.mark.timeout(1200)
def test_every_tracker_runs_under_debian_12s_kernel() -> None:
    command = [*COMMAND, EACH, *EXACTLY]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    told = f"{ended.stdout[-8000:]}\n{ended.stderr[-4000:]}"
    assert ended.returncode == 0, told
    assert " passed" in ended.stdout, told
    assert "skipped" not in ended.stdout, told


def test_a_run_that_is_killed_leaves_no_emulator_behind() -> None:
    entry = f"EUNOMIA_TEST={os.getpid()}"
    name, _, value = entry.partition("=")
    running = subprocess.Popen(
        [*COMMAND, EACH],
        cwd=PROJECT,
        env={**os.environ, name: value},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    emulator = EMULATOR.encode()
    latest = time.monotonic() + 300
    while not with_environment(entry.encode(), emulator):
        assert running.poll() is None
        assert time.monotonic() < latest, "no emulator was started"
        time.sleep(0.2)
    running.kill()
    running.wait()

    latest = time.monotonic() + 60
    while left := with_environment(entry.encode(), emulator):
        assert time.monotonic() < latest, left
        time.sleep(0.1)
