# SPDX-License-Identifier: Apache-2.0
"""Cgroups that come and go: the kernel's records of them, and a scan of what there is."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_EVENT = struct.Struct("=QQQQIIII")  # struct cgroup_event of bpf/cgroups.bpf.c
_MADE, _GONE = 1, 2


@dataclass(frozen=True, slots=True)
class CgroupMade:
    """A cgroup is there. path: from the root of the tree, or from that of the scan."""

    cgroup_id: int
    path: str


@dataclass(frozen=True, slots=True)
class CgroupGone:
    """A cgroup was removed."""

    cgroup_id: int


def decode(record: bytes) -> CgroupMade | CgroupGone | None:
    """Read one `struct cgroup_event`, or return None for one that is malformed.

    Its path is offset (low 16 bits) and length (high 16 bits) of bytes in the record; a new cgroup
    is never the root, so without a path it could be anyone's.
    """
    if len(record) < _EVENT.size:
        return None
    _time, cgroup_id, _parent, _jobs, kind, _state, path, _pad = _EVENT.unpack_from(record)
    if kind == _GONE:
        return CgroupGone(cgroup_id)
    start, length = path & 0xFFFF, path >> 16
    if kind != _MADE or not length or start + length > len(record):
        return None
    return CgroupMade(cgroup_id, os.fsdecode(record[start : start + length]))


def scan(root: Path, limit: int) -> list[CgroupMade]:
    """Return the cgroups below and with `root`, parents first, at most `limit` of them.

    The id of a cgroup is the inode number of its folder (kernfs; 64-bit hosts).
    """
    made = [CgroupMade(root.stat().st_ino, "/")]
    for cgroup in made:  # grows while it is walked
        for name, inode in _children(root, cgroup.path):
            if len(made) >= limit:
                return made
            made.append(CgroupMade(inode, f"{cgroup.path.rstrip('/')}/{name}"))
    return made


def _children(root: Path, path: str) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(root / path.lstrip("/")) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, entry.inode()
    except OSError:  # gone since: ENOENT, or ENODEV while reading
        return
