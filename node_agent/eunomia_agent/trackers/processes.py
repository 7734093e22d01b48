# SPDX-License-Identifier: Apache-2.0
"""Processes and what they started, out of /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

from eunomia_agent.errors import CgroupUnknown

PROC = Path("/proc")


def descendants(pids: Iterable[int], proc: Path = PROC) -> set[int]:
    """Return processes together with all that descend from them, as proc(5) tells it now."""
    children: dict[int, list[int]] = {}
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            parent = _parent(folder)
            if parent is not None:
                children.setdefault(parent, []).append(int(folder.name))
    found: set[int] = set()
    ahead = list(pids)
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead += children.get(pid, [])
    return found


def cgroup_of(pid: int, root: Path | None) -> int:
    """Return the id of a process's cgroup. Raises CgroupUnknown.

    pid: as in the caller's own pid namespace. root: where the hierarchy is mounted. All of it is
    looked through: from inside a container, no file of /proc says where in the host's tree it is.
    """
    for folder, _, _ in os.walk(root or ""):
        try:
            pids = Path(folder, "cgroup.procs").read_text().split()
        except OSError:  # it is gone, or none that lists processes
            continue
        if str(pid) in pids:
            return os.stat(folder).st_ino
    raise CgroupUnknown(
        f"process {pid}, the agent's own, is in no cgroup below {root or 'any mount'}: without"
        " knowing its own the agent kills nobody"
    )


def began_tick(pid: int, proc: Path = PROC) -> int | None:
    """Return when a process began, in ticks of the clock since boot; None when it is gone."""
    stat = _stat(proc / str(pid))
    return int(stat[19]) if len(stat) > 19 else None


def tick_of(boot_ns: int) -> int:
    """Return the tick in which a time lies, as fs/proc/array.c rounds it."""
    return boot_ns * os.sysconf("SC_CLK_TCK") // 1_000_000_000


def _parent(folder: Path) -> int | None:
    """Return the parent of a process; None when it is gone."""
    stat = _stat(folder)
    return int(stat[1]) if len(stat) > 1 else None


def _stat(folder: Path) -> list[bytes]:
    """Return what proc(5) tells behind a process's name, which may hold any character."""
    try:
        text = (folder / "stat").read_bytes()
    except OSError:
        return []
    return text[text.rfind(b")") + 1 :].split()
