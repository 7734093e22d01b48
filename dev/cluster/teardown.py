# SPDX-License-Identifier: Apache-2.0
"""Taking everything down, from whatever state it is in.

What is ours is known by pidfiles, by the cgroup in which all of it runs, by the mounts below
our folder and by the names of our bridges: nothing depends on how far a start had come.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from dev.cluster import cgroups, mounts, network, node
from dev.cluster.component import process
from dev.cluster.components import ORDER
from dev.errors import DevError, NotReady
from dev.folders import STATE
from dev.progress import step

PATIENCE_SECONDS = 2.0
"""State is thrown away: whoever takes longer to end is killed."""


def clear() -> None:
    """Take each step on its own; NotReady at the end with all that went wrong."""
    steps: list[tuple[str, Callable[[], None]]] = [
        ("stopping components", _stop_components),
        ("ending pods", cgroups.kill),
        ("removing the shims' sockets", node.remove_shim_sockets),
        ("unmounting", lambda: mounts.clear(STATE)),
        ("undoing the network", network.down),
        ("removing cgroups", cgroups.remove),
        ("removing the state", _remove_state),
    ]
    failures: list[str] = []
    for what, act in steps:
        try:
            with step(what):
                act()
        except (DevError, OSError) as error:
            failures.append(f"{what}: {error}")
    if failures:
        raise NotReady("not everything could be taken down:\n" + "\n".join(failures))


def _stop_components() -> None:
    for name in reversed(ORDER):
        process(name).stop(patience=PATIENCE_SECONDS)


def _remove_state() -> None:
    """Only once nothing is mounted in it: a mount may lead into the machine's own files."""
    if left := mounts.below(mounts.current(), STATE):
        raise NotReady(f"still mounted: {', '.join(left)}")
    if STATE.exists():
        shutil.rmtree(STATE)
