# SPDX-License-Identifier: Apache-2.0
"""A kernel whose tracepoints can be reached."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TRACEFS = Path("/sys/kernel/tracing")


@pytest.fixture(scope="session", autouse=True)
def _tracefs() -> Iterator[None]:
    mine = os.geteuid() == 0 and not (TRACEFS / "events").exists()
    if mine:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACEFS], check=True)
    yield
    if mine:
        subprocess.run(["umount", "--lazy", TRACEFS], check=False)
