# SPDX-License-Identifier: Apache-2.0
"""Processes and what they started, out of /proc."""

from collections.abc import Iterable
from pathlib import Path

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


def _parent(folder: Path) -> int | None:
    """Return the parent of a process; None when it is gone. Its name may hold any character."""
    try:
        text = (folder / "stat").read_bytes()
        return int(text[text.rindex(b")") + 1 :].split()[1])
    except (OSError, ValueError, IndexError):
        return None
