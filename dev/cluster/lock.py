# SPDX-License-Identifier: Apache-2.0
"""One tool at a time changes the cluster."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.progress import step

LOCK = Path("/run/lock/eunomia-dev.lock")


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock for the block; the kernel drops it when the tool dies (flock(2))."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as file:
        with step("waiting for another run of this tool"):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
