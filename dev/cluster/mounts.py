# SPDX-License-Identifier: Apache-2.0
"""Mounts: what the kernel must offer to tracers, and what pods left under our folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev.command import output
from dev.errors import CommandFailed

WANTED = (("/sys/kernel/tracing", "tracefs"), ("/sys/fs/bpf", "bpf"))


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5))."""

    target: str
    kind: str


def parse(mountinfo: str) -> list[Mount]:
    """The mounts in the order in which they were made; \\040 and the like decoded."""
    mounts: list[Mount] = []
    for line in mountinfo.splitlines():
        place, _, source = line.partition(" - ")
        mounts.append(Mount(target=_decoded(place.split(" ")[4]), kind=source.split(" ")[0]))
    return mounts


def current() -> list[Mount]:
    """The mounts of this process's namespace."""
    return parse(Path("/proc/self/mountinfo").read_text())


def below(mounts: Sequence[Mount], folder: Path) -> list[str]:
    """The targets in or at a folder, the latest mount first."""
    inside = f"{folder}/"
    return [mount.target for mount in reversed(mounts) if f"{mount.target}/".startswith(inside)]


def provide() -> None:
    """Mount tracefs and bpffs where everybody expects them, unless they are there."""
    kinds = {(mount.target, mount.kind) for mount in current()}
    for target, kind in WANTED:
        if (target, kind) not in kinds:
            output(["mount", "-t", kind, kind, target])


def clear(folder: Path) -> None:
    """Unmount everything below a folder; what is busy goes as soon as its last user has."""
    for target in below(current(), folder):
        with suppress(CommandFailed):
            output(["umount", "--lazy", target])


def _decoded(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
