# SPDX-License-Identifier: Apache-2.0
"""Debian's packages, of any suite and for any machine, taken apart and not installed.

They come from the mirror that this machine's apt uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from dev.command import output
from dev.errors import MachineUnfit
from dev.folders import CACHE
from dev.progress import run

SOURCES = Path("/etc/apt/sources.list.d")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Suite:
    """A suite of Debian for one machine, with lists of its own in a folder.

    machine: as `uname -m` says. Every method raises CommandFailed, `of` also MachineUnfit.
    """

    def __init__(self, folder: Path, options: list[str], log: Path) -> None:
        self._folder = folder
        self._options = options
        self._log = log

    @classmethod
    def of(cls, name: str, machine: str, folder: Path) -> Suite:
        """Fetch a suite's lists."""
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        sources, none = folder / "sources.list", folder / "installed"
        sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {name} main\n")
        none.write_text("")
        options = [
            *("-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=-"),
            *(
                "-o",
                f"Dir::State::Lists={folder / 'lists'}",
                "-o",
                f"Dir::Cache={folder / 'cache'}",
            ),
            *("-o", f"Dir::State::status={none}", "-o", "APT::Sandbox::User=root"),
            *("-o", f"APT::Architecture={ARCHITECTURES[machine]}"),
            *("-o", f"APT::Architectures::={ARCHITECTURES[machine]}"),
        ]
        log = CACHE / "logs" / f"packages-{name}-{machine}.log"
        run(f"apt-get update of {name}", ["apt-get", *options, "update"], log=log)
        return cls(folder, options, log)

    def dependency(self, package: str, pattern: str) -> str:
        """Return the package that another one depends on and whose name matches."""
        told = output(["apt-cache", *self._options, "depends", "--important", package])
        found = re.search(rf"Depends: ({pattern})", told)
        if not found:
            raise MachineUnfit(f"no package of {package} is like {pattern}: {told.strip()}")
        return found[1]

    def extract(
        self,
        packages: Sequence[str],
        into: Path,
        *,
        closure: bool = False,
        wanted: Callable[[str], bool] = bool,
    ) -> None:
        """Unpack packages into a folder, and what they depend on where `closure` says so."""
        action = ["install", "--download-only"] if closure else ["download"]
        command = ["apt-get", *self._options, "--yes", "--no-install-recommends", *action]
        archives = self._folder / "cache" / "archives"
        what = f"download of {packages[0]}" + (" and others" if len(packages) > 1 else "")
        run(what, [*command, *packages], log=self._log, cwd=archives)
        for package in sorted(archives.glob("*.deb")):
            if wanted(package.name):
                output(["dpkg-deb", "--extract", package, into])
            package.unlink()


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
