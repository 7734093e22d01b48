# SPDX-License-Identifier: Apache-2.0
"""Kernel images out of Debian's packages, kept in the cache."""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from dev.command import output
from dev.errors import MachineUnfit
from dev.folders import CACHE
from dev.progress import run

LIST = Path(__file__).with_name("kernels.toml")
SOURCES = Path("/etc/apt/sources.list.d")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
META = {"x86_64": "linux-image-amd64", "aarch64": "linux-image-arm64"}


@dataclass(frozen=True)
class Kernel:
    """A kernel of Debian. suite: bookworm, trixie …"""

    name: str
    suite: str


def known() -> list[Kernel]:
    """The kernels of kernels.toml."""
    return [Kernel(**each) for each in tomllib.loads(LIST.read_text())["kernel"]]


def fetch(kernel: Kernel, machine: str) -> Path:
    """Return the kernel's image, taken from Debian's mirror the first time.

    The mirror is the one that this machine's apt uses. Raises CommandFailed, MachineUnfit.
    """
    folder = CACHE / "kernels" / kernel.name
    images = sorted(folder.glob("root/boot/vmlinuz-*"))
    if images:
        return images[-1]
    apt = _apt(folder, kernel.suite)
    log = CACHE / "logs" / f"kernel-{kernel.name}.log"
    run(f"apt-get update of {kernel.suite}", ["apt-get", *apt, "update"], log=log)
    told = output(["apt-cache", *apt, "depends", "--important", META[machine]])
    names = re.findall(r"Depends: (linux-image-\S+)", told)
    if not names:
        raise MachineUnfit(f"{kernel.suite} has no {META[machine]}: {told.strip()}")
    run(f"download of {names[0]}", ["apt-get", *apt, "download", names[0]], log=log, cwd=folder)
    (package,) = folder.glob("*.deb")
    half = folder / "half"  # so that an image is there whole or not at all
    shutil.rmtree(half, ignore_errors=True)
    output(["dpkg-deb", "--extract", package, half])
    half.rename(folder / "root")
    package.unlink()
    return next(iter(folder.glob("root/boot/vmlinuz-*")))


def _apt(folder: Path, suite: str) -> list[str]:
    """Return options with which apt looks at one suite, not at the machine's own lists."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    return [
        *("-o", f"Dir::Etc::SourceList={folder / 'sources.list'}", "-o", "Dir::Etc::SourceParts=-"),
        *("-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"),
        *("-o", "APT::Sandbox::User=root"),
    ]


def _mirror() -> str:
    """Return the address of the mirror of Debian that this machine's apt uses."""
    for path in [*sorted(SOURCES.glob("*.sources")), *sorted(SOURCES.glob("*.list"))]:
        found = re.search(
            r"^(?:URIs:|deb(?: \[.*\])?)\s+(\S+/debian/?)(?:\s|$)", path.read_text(), re.MULTILINE
        )
        if found:
            return found[1]
    found = re.search(r"^deb(?: \[.*\])?\s+(\S+/debian/?)\s", _old_list(), re.MULTILINE)
    if found:
        return found[1]
    raise MachineUnfit("apt's sources name no mirror of Debian: kernels are taken from there")


def _old_list() -> str:
    path = Path("/etc/apt/sources.list")
    return path.read_text() if path.exists() else ""
