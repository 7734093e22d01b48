# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of a running process: memory, CPU time, and which processes a pod has."""

from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError

PROC = Path("/proc")
KIB_A_MIB = 1024


def resident_mib(pid: int) -> float:
    """Return VmRSS of a process, in MiB (proc_pid_status(5))."""
    for line in _read(pid, "status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / KIB_A_MIB
    raise BenchError(f"no VmRSS in /proc/{pid}/status")


def cpu_seconds(pid: int, root: Path) -> float:
    """Return the CPU time of a process's cgroup, in seconds, threads that have ended included.

    root: of the cgroup2 tree. From cpu.stat, which counts microseconds where
    /proc/PID/stat counts hundredths of a second.
    """
    for line in _read(pid, "cgroup").splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            for entry in (root / path.lstrip("/") / "cpu.stat").read_text().splitlines():
                name, value = entry.split()
                if name == "usage_usec":
                    return int(value) / 1e6
    raise BenchError(f"process {pid} is in no cgroup of version 2 that counts CPU time")


def of_pod(uid: str, module: str) -> int:
    """Return the pid, on the node, of the process of a pod that runs a Python module."""
    found = [pid for pid in _pids() if _is_in(pid, uid) and module in _arguments(pid)]
    if len(found) != 1:
        raise BenchError(f"{len(found)} processes of pod {uid} run {module}, not one")
    return found[0]


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise BenchError(f"process {pid} ended while it was measured") from None


def _pids() -> Iterator[int]:
    return (int(folder.name) for folder in PROC.glob("[0-9]*"))


def _is_in(pid: int, uid: str) -> bool:
    try:
        return f"pod{uid}" in (PROC / str(pid) / "cgroup").read_text()
    except OSError:  # ended meanwhile
        return False


def _arguments(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []
