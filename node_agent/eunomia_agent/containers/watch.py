# SPDX-License-Identifier: Apache-2.0
"""Cgroups that come and go: the kernel's records of them, and a scan of what there is."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.render import decoded

_GONE_SINCE = (errno.ENOENT, errno.ENODEV)
"""Of a folder that is opened or read while its cgroup is removed."""


@dataclass(frozen=True, slots=True)
class CgroupMade:
    """A cgroup is there. path: from the root of the tree, or from that of the scan.

    Of a name that is not UTF-8, the bytes that are none stand as `\\xff`, as in rows.
    """

    cgroup_id: int
    path: str


@dataclass(frozen=True, slots=True)
class CgroupGone:
    """A cgroup was removed."""

    cgroup_id: int


Change = CgroupMade | CgroupGone


@dataclass(frozen=True, slots=True)
class Scan:
    """The cgroups of a tree, parents first. unseen: why some are missing; empty when none are."""

    found: list[CgroupMade]
    unseen: str = ""


def changes(batch: Batch) -> Iterator[Change | None]:
    """Yield what the records of `struct cgroup_event` say; None for one without a path.

    A new cgroup is never the root, so without a path it could be anyone's.
    """
    names = batch.layout.column("kind").values
    kinds = [names.get(kind) for kind in batch.fixed["kind"].tolist()]
    ids: list[int] = batch.fixed["cgroup_id"].tolist()
    for kind, cgroup_id, path in zip(kinds, ids, batch.bytes_of("path"), strict=True):
        if kind == "cgroup_rmdir":
            yield CgroupGone(cgroup_id)
        elif kind == "cgroup_mkdir" and path:
            yield CgroupMade(cgroup_id, decoded(path))
        else:
            yield None


def scan(root: Path, limit: int) -> Scan:
    """Find the cgroups below and with `root`, at most `limit` of them.

    The id of a cgroup is the inode number of its folder (kernfs; 64-bit hosts). Raises OSError
    where the root itself cannot be read.
    """
    found = [CgroupMade(root.stat().st_ino, "/")]
    unseen, folders = "", [b""]
    for folder in folders:  # grows while it is walked
        try:
            for name, inode in _children(os.fsencode(root) + folder):
                if len(found) >= limit:
                    return Scan(found, f"there are more than {limit} cgroups")
                folders.append(folder + b"/" + name)
                found.append(CgroupMade(inode, decoded(folders[-1])))
        except OSError as error:
            if not folder:
                raise
            if error.errno not in _GONE_SINCE:
                unseen = f"those below {decoded(folder)!a} cannot be read: {error.strerror}"
    return Scan(found, unseen)


def _children(folder: bytes) -> Iterator[tuple[bytes, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.name, entry.inode()
