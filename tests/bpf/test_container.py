# SPDX-License-Identifier: Apache-2.0
"""Containers that start and stop, and what the kernel says that each of them used."""

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)
MS = 1_000_000
MIB = 1 << 20
CLONE_NEWNET = 0x40000000
V1 = Path("/sys/fs/cgroup")


@pytest.fixture(autouse=True)
def _iterators() -> None:
    """Skip where the kernel cannot walk over cgroups (Linux before 6.1)."""
    from eunomia_agent.kernel import features  # noqa: PLC0415

    if reason := features.probe().missing.get("iterator"):
        pytest.skip(f"needs BPF iterators: {reason}")


class Reader:
    """Reads the tracker's rows as the agent does, at the end of an interval."""

    def __init__(self, tracked: Any, hierarchy: Path) -> None:
        self.tracked = tracked
        self.hierarchy = hierarchy
        self()

    def __call__(self) -> list[dict[str, Any]]:
        self.tracked.object.run_iterators(self.hierarchy)
        rows: list[dict[str, Any]] = self.tracked.counts()
        return rows

    def one(self) -> dict[str, Any]:
        rows = self()
        assert len(rows) == 1, rows
        assert rows[0]["count"] == 1
        return rows[0]


class Child:
    """A process in the cgroup that does one thing after the other, each when it is told to."""

    def __init__(self, spawn: Any, *steps: Callable[[], object]) -> None:
        self._here, there = socket.socketpair()
        self.pid: int = spawn(lambda: self._work(there, steps))
        there.close()
        self._here.recv(1)

    def step(self) -> None:
        self._here.send(b".")
        self._here.recv(1)

    def end(self) -> None:
        self._here.close()
        os.waitpid(self.pid, 0)

    def _work(self, told: socket.socket, steps: tuple[Callable[[], object], ...]) -> None:
        self._here.close()
        told.send(b".")
        for step in steps:
            if not told.recv(1):
                return
            step()
            told.send(b".")
        told.recv(1)


@pytest.fixture
def controlled(cgroup: Path) -> Iterator[Callable[[str], Path]]:
    """Make a cgroup of a v1 controller, as a container has on a hybrid host."""
    made: list[Path] = []

    def make(controller: str) -> Path:
        if not (V1 / controller / "cgroup.procs").exists():
            pytest.skip(f"needs the v1 hierarchy of the {controller} controller")
        path = V1 / controller / cgroup.name
        path.mkdir()
        made.append(path)
        return path

    yield make
    for path in made:
        for _ in range(200):
            try:
                path.rmdir()
            except OSError:
                time.sleep(0.01)
            else:
                break


def join(cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text("0")


def burn(user: float, system: float) -> None:
    """Use CPU time, in seconds by this process's own account, for calculations and for calls."""
    begin = resource.getrusage(resource.RUSAGE_SELF)
    while resource.getrusage(resource.RUSAGE_SELF).ru_utime - begin.ru_utime < user:
        sum(range(20_000))
    while resource.getrusage(resource.RUSAGE_SELF).ru_stime - begin.ru_stime < system:
        os.pread(zero, 1 << 20, 0)


zero = os.open("/dev/zero", os.O_RDONLY)


def test_cpu_time_is_the_cgroups_own_to_the_microsecond(
    track: Any, spawn: Any, cgroup: Path, hierarchy: Path
) -> None:
    read = Reader(track("container"), hierarchy)
    child = Child(spawn, lambda: burn(0.3, 0.3), lambda: burn(0.2, 0.0))
    before = stat(cgroup)
    for user, system in ((300, 300), (200, 0)):
        read()
        before = stat(cgroup)
        child.step()
        after = stat(cgroup)
        row = read.one()

        used = row["cpu_user"] + row["cpu_system"]
        assert used == pytest.approx(
            (after["usage_usec"] - before["usage_usec"]) * 1000, abs=2 * MS
        )
        assert row["cpu_user"] == pytest.approx(user * MS, abs=60 * MS)
        assert row["cpu_system"] == pytest.approx(system * MS, abs=60 * MS)
        assert (row["processes"], row["threads"]) == (1, 1)


def stat(cgroup: Path) -> dict[str, int]:
    lines = (cgroup / "cpu.stat").read_text().splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines}
