# SPDX-License-Identifier: Apache-2.0
"""An owner, and a disk that can be filled."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout
from eunomia_agent.events.lines import Lines
from eunomia_agent.sinks.rows import Rows


@pytest.fixture
def web() -> Owner:
    return Owner(7, "container", "shop", "web-0", "uid", "nginx", "1b" * 32)


@pytest.fixture
def of_lines() -> Callable[[Owner, Sequence[bytes]], Rows]:
    """Makes rows that are these lines as JSON."""
    layout = Layout("event", 8, [Column("time", "boot_ns_t", "uint", 0, 8)])

    def make(owner: Owner, lines: Sequence[bytes]) -> Rows:
        fixed = np.zeros(len(lines), layout.dtype)
        batch = Batch(layout, fixed, b"", np.zeros(len(lines), np.uint64))
        return Rows(batch, owner, "opensnoop", node="n1", lines=Lines.of(lines))

    return make


@pytest.fixture
def opens(web: Owner) -> Callable[[int, int], Rows]:
    """Makes rows first, first + 1 … as they come from a ring: of pid n, with the path /n."""
    layout = Layout(
        "event",
        16,
        [
            Column("time", "boot_ns_t", "uint", 0, 8),
            Column("pid", "tgid_t", "uint", 8, 4),
            Column("path", "path_t", "uint", 12, 4),
        ],
    )

    def make(first: int, count: int) -> Rows:
        paths = [b"/%d" % number for number in range(first, first + count)]
        fixed = np.zeros(count, layout.dtype)
        fixed["pid"] = range(first, first + count)
        fixed["path"] = [len(path) << 16 | layout.size for path in paths]
        starts = np.cumsum([0, *map(len, paths)])[:-1].astype(np.uint64)
        return Rows(Batch(layout, fixed, b"".join(paths), starts), web, "opensnoop", node="n1")

    return make


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
