# SPDX-License-Identifier: Apache-2.0
"""An owner, and a disk that can be filled."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eunomia_agent.containers.owner import Owner


@pytest.fixture
def web() -> Owner:
    return Owner(7, "container", "shop", "web-0", "uid", "nginx", "1b" * 32)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid():
        pytest.skip("needs root: it mounts a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
