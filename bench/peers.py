# SPDX-License-Identifier: Apache-2.0
"""Where collectors run: this machine, or a system of their own that holds the newest peers.

The peers of a stable Debian are years old. Those of the unstable suite are unpacked by
debootstrap into a folder, and run in it by chroot, in a mount namespace of their own: nothing of
them is installed on this machine, and no mount is left behind.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from dev.command import environment, found
from dev.folders import CACHE
from dev.progress import run

FOLDER = CACHE / "bench-peers"
SUITE = "sid"
PACKAGES = ("bpftrace", "bpfcc-tools", "libbpf-tools", "linux-headers-amd64", "kmod", "iproute2")
INSIDE = """
for folder in sys proc dev; do mount --rbind /$folder $0/$folder || exit 98; done
mount --bind /tmp $0/tmp || exit 98
exec chroot "$0" "$@"
"""
PATH = f"{Path(sys.executable).parent}{os.pathsep}{environment()['PATH']}"
"""Of collectors: the project's own command is beside the interpreter that runs this."""
LOG = CACHE / "logs" / "bench.log"


@dataclass(frozen=True, slots=True)
class Root:
    """A root folder to run commands in; None: this machine's."""

    folder: Path | None

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs the given one there, as the same process."""
        if self.folder is None:
            return list(words)
        own_mounts = ("unshare", "--mount", "--propagation", "private")
        return [*own_mounts, "sh", "-c", INSIDE, str(self.folder), *words]

    def missing(self, program: str) -> str:
        """Return why a program cannot run there; empty where it can."""
        if self.folder is None:
            there = shutil.which(program, path=PATH) is not None
            return "" if there else f"{program} is not installed"
        names = ("usr/sbin", "usr/bin", "")
        places = (self.folder / name / program.lstrip("/") for name in names)
        if any(place.exists() for place in places):
            return ""
        return f"{program} is not in {self.folder}: `python -m bench.peers` puts it there"


def machine() -> Root:
    """Return this machine's root."""
    return Root(None)


def peers() -> Root:
    """Return the root of the peers, there or not."""
    return Root(FOLDER)


def install() -> None:
    """Unpack the peers where they are missing. Needs root, and a mirror of Debian."""
    if not (FOLDER / "usr/bin/bpftrace").exists():
        if found("debootstrap") is None:
            raise BenchError("debootstrap is not installed")
        unfinished = FOLDER.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        words = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        run("debootstrap of the peers", [*words, SUITE, str(unfinished)], log=LOG)
        unfinished.rename(FOLDER)
    _headers()


def _headers() -> None:
    """Let BCC find kernel headers.

    They are of another release than the kernel that runs: tracepoints' arguments are right
    nevertheless, since BCC takes their layout from tracefs.
    """
    (build,) = (FOLDER / "usr/src").glob("linux-headers-*-amd64")
    (source,) = (FOLDER / "usr/src").glob("linux-headers-*-common")
    modules = FOLDER / "usr/lib/modules" / os.uname().release
    modules.mkdir(parents=True, exist_ok=True)
    for name, target in (("build", build), ("source", source)):
        link = modules / name
        link.unlink(missing_ok=True)
        link.symlink_to(Path("/") / target.relative_to(FOLDER))


def tracefs() -> None:
    """Mount tracefs where it is not: classic tracepoints need it."""
    if not Path("/sys/kernel/tracing/events").exists():
        words = ["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"]
        subprocess.run(words, check=True, env=environment())


if __name__ == "__main__":
    install()
