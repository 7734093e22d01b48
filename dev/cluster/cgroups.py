# SPDX-License-Identifier: Apache-2.0
"""The cluster's own cgroup in each hierarchy: whatever runs in it is ours to end.

Machines have cgroup v2 alone, or hybrid: v1 controllers beside a v2 tree. Components join
the v2 tree only; pods join all hierarchies below the same name.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from dev.cluster import layout, mounts
from dev.command import output
from dev.errors import NotReady

UNIFIED = Path("/sys/fs/cgroup/unified")
COMPONENTS = "components"
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
CPUSET = ("cpuset.cpus", "cpuset.mems")


def make() -> Path:
    """Make our cgroup in every hierarchy; gives the v2 folder that components join."""
    _provide_unified()
    for root in _roots("cgroup"):
        own = root / layout.NAME
        own.mkdir(exist_ok=True)
        for name in CPUSET:
            if (own / name).exists():
                (own / name).write_text((root / name).read_text())
    components = _unified() / layout.NAME / COMPONENTS
    components.mkdir(parents=True, exist_ok=True)
    _enable_controllers(_unified())
    return components


def populated() -> bool:
    """Whether any process is left in our v2 tree."""
    events = _unified_own() / "cgroup.events"
    return events.exists() and "populated 1" in events.read_text()


def kill(seconds: float = 10.0) -> None:
    """SIGKILL whatever is in our v2 tree, containers and shims included, and wait for its end.

    cgroup.kill: Documentation/admin-guide/cgroup-v2.rst, since Linux 5.14.
    """
    if not populated():
        return
    (_unified_own() / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + seconds
    while populated():
        if time.monotonic() > deadline:
            raise NotReady(f"processes in {_unified_own()} do not end after SIGKILL")
        time.sleep(0.02)


def remove(seconds: float = 5.0) -> None:
    """Remove our cgroups from every hierarchy, the deepest first."""
    deadline = time.monotonic() + seconds
    for root in [*_roots("cgroup"), *_roots("cgroup2")]:
        own = root / layout.NAME
        while own.exists():
            _remove_tree(own)
            if own.exists() and time.monotonic() > deadline:
                raise NotReady(f"cgroup {own} cannot be removed: something still runs in it")
            time.sleep(0.02)


def _remove_tree(folder: Path) -> None:
    for child in [path for path in folder.iterdir() if path.is_dir()]:
        _remove_tree(child)
    with suppress(OSError):
        folder.rmdir()


def _roots(kind: str) -> list[Path]:
    return [Path(mount.target) for mount in mounts.current() if mount.kind == kind]


def _unified() -> Path:
    return _roots("cgroup2")[0]


def _unified_own() -> Path:
    roots = _roots("cgroup2")
    return roots[0] / layout.NAME if roots else Path("/nonexistent")


def _provide_unified() -> None:
    if not _roots("cgroup2"):
        UNIFIED.mkdir(exist_ok=True)
        output(["mount", "-t", "cgroup2", "cgroup2", UNIFIED])


def _enable_controllers(root: Path) -> None:
    """Hand the controllers that v2 has here down to our cgroup, as the kubelet expects."""
    offered = (root / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in CONTROLLERS if name in offered)
    for folder in (root, root / layout.NAME):
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(wanted)
