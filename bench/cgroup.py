# SPDX-License-Identifier: Apache-2.0
"""Cgroups of the benchmark's own: what is traced is in one, what traces is in another."""

import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.process import resident_mib
from eunomia_agent.containers.hierarchy import find_root

ENTER = 'echo $$ > "$0" && exec "$@"'
"""A shell's way into a cgroup."""


class Cgroup:
    """A folder of the cgroup v2 tree."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> int:
        """What bpf_get_current_cgroup_id() gives: the inode of the folder."""
        return self.path.stat().st_ino

    def entering(self, command: Sequence[str]) -> list[str]:
        """Return the command that enters the cgroup and then runs the given one."""
        return ["sh", "-c", ENTER, str(self.path / "cgroup.procs"), *command]

    def child(self, name: str) -> "Cgroup":
        """Make a cgroup below this one."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        return Cgroup(path)

    def tree(self) -> list["Cgroup"]:
        """Return this cgroup and all below it."""
        return [Cgroup(path) for path in (self.path, *self.path.rglob("*")) if path.is_dir()]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all that ever ran here (cpu.stat, in microseconds)."""
        for line in (self.path / "cpu.stat").read_text().splitlines():
            name, value = line.split()
            if name == "usage_usec":
                return int(value) / 1e6
        raise BenchError(f"{self.path}/cpu.stat tells no usage_usec")

    def pids(self) -> list[int]:
        """Return the processes that are here."""
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def resident_mib(self) -> float:
        """Return the resident memory of all processes, shared pages counted for each."""
        total = 0.0
        for pid in self.pids():
            try:
                total += resident_mib(pid)
            except BenchError:  # ended meanwhile
                continue
        return total

    def remove(self) -> None:
        """Remove it and what is below, as soon as the last process is really gone."""
        for child in self.path.iterdir():
            if child.is_dir():
                Cgroup(child).remove()
        for _ in range(100):
            try:
                self.path.rmdir()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise BenchError(f"{self.path} still holds processes {self.pids()}")


@contextmanager
def cgroup() -> Generator[Cgroup]:
    """Lend a cgroup. Raises BenchError where there is no v2 tree."""
    root = find_root(Path("/proc/self/mountinfo").read_text())
    if root is None:
        raise BenchError("no cgroup v2 tree is mounted")
    lent = Cgroup(root / f"eunomia-bench-{secrets.token_hex(4)}")
    lent.path.mkdir()
    try:
        yield lent
    finally:
        lent.remove()
