# SPDX-License-Identifier: Apache-2.0
"""Buildah with a store of our own in the cache: nobody else's images are seen or touched.

The overlay driver keeps each layer once; vfs, which copies all of the lower layers into each
new one, serves where the cache's file system takes no overlay.
"""

from __future__ import annotations

import functools
from pathlib import Path

from dev.command import found, output
from dev.errors import CommandFailed, MachineUnfit
from dev.folders import CACHE
from dev.progress import run

ROOT = CACHE / "storage"
RUN = Path("/run/eunomia-dev-storage")
LOG = CACHE / "logs" / "images.log"


def call(*words: str | Path) -> str:
    """Run a quick buildah command; gives its stdout without the last newline."""
    return output([*_buildah(_driver()), *words]).rstrip("\n")


def work(what: str, *words: str | Path) -> None:
    """Run a slow buildah command as one step, its output in the log."""
    run(what, ["nice", *_buildah(_driver()), *words], log=LOG, landmark="STEP ")


def exists(name: str) -> bool:
    """Whether an image of this name is in the store."""
    try:
        call("inspect", "--type", "image", name)
    except CommandFailed:
        return False
    return True


def _buildah(driver: str) -> list[str]:
    folders = ("--root", str(ROOT), "--runroot", str(RUN))
    return ["buildah", *folders, "--storage-driver", driver]


@functools.cache
def _driver() -> str:
    if not found("buildah"):
        raise MachineUnfit("buildah is missing: `python3 -m dev.packages` installs it")
    for driver in ("overlay", "vfs"):
        try:
            output([*_buildah(driver), "images", "--quiet"])
        except CommandFailed:
            continue
        return driver
    raise MachineUnfit(f"buildah can use neither overlay nor vfs in {ROOT}")
