# SPDX-License-Identifier: Apache-2.0
"""Kernel images out of Debian's packages, kept in the cache."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.folders import CACHE
from dev.kernels.apt import ARCHITECTURES, Suite

LIST = Path(__file__).with_name("kernels.toml")
TESTS = (
    "tests/kernels/test_trackers.py",
    "tests/node_agent/test_denying.py",
    "tests/node_agent/test_denying_calls.py",
    "tests/bpf",
)


@dataclass(frozen=True)
class Kernel:
    """A kernel of Debian.

    suite: bookworm, trixie …; machine: as `uname -m` says; tests: paths for pytest.
    """

    name: str
    suite: str
    machine: str
    tests: Sequence[str] = TESTS


def known() -> list[Kernel]:
    """The kernels of kernels.toml."""
    return [Kernel(**each) for each in tomllib.loads(LIST.read_text())["kernel"]]


def fetch(kernel: Kernel) -> Path:
    """Return the kernel's image, taken from Debian's mirror the first time.

    Raises CommandFailed, MachineUnfit.
    """
    folder = CACHE / "kernels" / kernel.name
    images = sorted(folder.glob("root/boot/vmlinuz-*"))
    if images:
        return images[-1]
    suite = Suite.of(kernel.suite, kernel.machine, folder)
    meta = f"linux-image-{ARCHITECTURES[kernel.machine]}"
    half = folder / "half"  # so that an image is there whole or not at all
    shutil.rmtree(half, ignore_errors=True)
    suite.extract([suite.dependency(meta, r"linux-image-\S+")], half)
    half.rename(folder / "root")
    return next(iter(folder.glob("root/boot/vmlinuz-*")))
