# SPDX-License-Identifier: Apache-2.0
"""The hierarchy of cgroups that says whose a process is, and where it is mounted."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ESCAPED = re.compile(r"\\([0-7]{3})")
_UNIFIED = 0
"""The number of the v2 hierarchy in cgroups(7), always."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The v2 hierarchy, or on a host with v1 alone that of the pids controller.

    Every process is in both, in a cgroup of its container's. root: where it is mounted; None:
    nowhere, so that only cgroups made from now on are seen. number: as in /proc/PID/cgroup; 0 for
    v2.
    """

    root: Path | None
    number: int = _UNIFIED


@dataclass(frozen=True, slots=True)
class _Mount:
    """inner: what of the hierarchy is shown, from the cgroup namespace on: "/.." is above it."""

    kind: str
    inner: str
    place: Path
    options: frozenset[str]


def here(root: Path | None = None) -> Hierarchy:
    """Find the hierarchy of this machine; see `find`. Raises OSError.

    Whoever may mount names a place as he likes: in bytes that are no text, too.
    """
    mountinfo, memberships = (
        os.fsdecode(Path(f"/proc/self/{name}").read_bytes()) for name in ("mountinfo", "cgroup")
    )
    return find(mountinfo, memberships, root)


def find(mountinfo: str, memberships: str, root: Path | None = None) -> Hierarchy:
    """Find the hierarchy to watch, and of its mounts the one that shows most of it.

    mountinfo: the text of /proc/self/mountinfo, see proc_pid_mountinfo(5). memberships: that of
    /proc/self/cgroup, see cgroups(7). root: the mount, or a folder in it, that a person named.
    """
    mounts = _mounts(mountinfo)
    if root is not None:
        around = [mount for mount in mounts if root.is_relative_to(mount.place)]
        inmost = max(around, key=lambda mount: len(mount.place.parts), default=None)
        is_pids = inmost is not None and _has_pids(inmost)
        return Hierarchy(root, _number_of_pids(memberships) if is_pids else _UNIFIED)
    if unified := find_root(mountinfo):
        return Hierarchy(unified)
    number = _number_of_pids(memberships)
    pids = _widest(mounts, _has_pids)
    return Hierarchy(pids, number) if pids and number else Hierarchy(None)


def find_root(mountinfo: str) -> Path | None:
    """Return the cgroup2 mount that shows most of the tree, or None where there is none.

    On a hybrid host it is at /sys/fs/cgroup/unified. In a container there can be two, its own and
    one of the host's: seen from a cgroup namespace, the root of the host's begins with "/..".
    """
    return _widest(_mounts(mountinfo), lambda mount: mount.kind == "cgroup2")


def _mounts(mountinfo: str) -> list[_Mount]:
    return [mount for line in mountinfo.split("\n") if (mount := _mount(line))]


def _mount(line: str) -> _Mount | None:
    before, _, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")
    if len(fields) < 5 or not kind[0].startswith("cgroup"):
        return None
    place = Path(_unescaped(fields[4]))
    return _Mount(kind[0], _unescaped(fields[3]), place, frozenset(kind[-1].split(",")))


def _has_pids(mount: _Mount) -> bool:
    return mount.kind == "cgroup" and "pids" in mount.options


def _number_of_pids(memberships: str) -> int:
    """Return the number of the v1 hierarchy of the pids controller; 0 where there is none."""
    for line in memberships.splitlines():
        number, controllers, *_ = (*line.split(":"), "")
        if "pids" in controllers.split(",") and number.isdecimal():
            return int(number)
    return _UNIFIED


def _widest(mounts: list[_Mount], fits: Callable[[_Mount], bool]) -> Path | None:
    fitting = [mount for mount in mounts if fits(mount)]
    return min(fitting, key=lambda mount: _depth(mount.inner)).place if fitting else None


def _depth(inner: str) -> tuple[int, int]:
    parts = PurePosixPath(inner).parts[1:]
    above = parts.count("..")
    return len(parts) - above, -above


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 8)), text)
