# SPDX-License-Identifier: Apache-2.0
"""One tool at a time changes the cluster, and one the images."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dev.progress import step

LOCKS = Path("/run/lock")


@contextmanager
def exclusive(what: str) -> Generator[None, None, None]:
    """Hold the lock of this name for the block; the kernel drops it when the tool dies.

    flock(2): a child that inherits the descriptor would hold it too, so none does.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / f"eunomia-dev-{what}.lock").open("w") as file:
        with step(f"waiting for another run that works on the {what}"):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
