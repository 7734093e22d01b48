# SPDX-License-Identifier: Apache-2.0
"""One quick command of the system, checked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.errors import CommandFailed

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian keeps iptables, runc and the like: not on every root's PATH."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of all children: ours, with the sbin folders on the PATH."""
    path = f"{os.environ.get('PATH', '/usr/bin:/bin')}:{SBIN}"
    return {**os.environ, "PATH": path, **(extra or {})}


def found(name: str) -> str | None:
    """The full path of a command, or None."""
    return shutil.which(name, path=environment()["PATH"])


def output(argv: Sequence[str | Path], *, text: str = "", cwd: Path | None = None) -> str:
    """Run a command to its end with `text` on its stdin and give its stdout.

    Raises CommandFailed with what it wrote to stderr.
    """
    words = [str(part) for part in argv]
    try:
        ended = subprocess.run(
            words,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=cwd,
            env=environment(),
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandFailed(
            f"{words[0]} is not installed: `python3 -m dev.packages` installs what is missing"
        ) from error
    if ended.returncode != 0:
        raise CommandFailed(
            f"`{' '.join(words)}` exited with {ended.returncode}: {ended.stderr.strip()}"
        )
    return ended.stdout
