# SPDX-License-Identifier: Apache-2.0
"""The system's packages: `python3 -m dev.packages` installs those that are missing.

It needs no package itself, so that it is the first thing to run on a fresh machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dev.command import environment, found
from dev.errors import DevError, MachineUnfit
from dev.folders import CACHE
from dev.progress import run, say

LIST = Path(__file__).resolve().parent / "packages.txt"


def wanted() -> list[str]:
    """The names in packages.txt."""
    lines = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return [line for line in lines if line]


def missing() -> list[str]:
    """What of the list dpkg does not know as installed."""
    if not found("dpkg-query"):
        raise MachineUnfit(
            "this is no Debian: install with your system's own tool what dev/packages.txt names"
        )
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted()],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {
        line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")
    }
    return [name for name in wanted() if name not in installed]


def require() -> None:
    """Raise MachineUnfit with the names of what is missing."""
    if lacking := missing():
        raise MachineUnfit(
            f"packages are missing: {' '.join(lacking)}; `python3 -m dev.packages` installs them"
        )


def install() -> None:
    """Install what is missing, in silence when nothing is."""
    lacking = missing()
    if not lacking:
        return
    if os.geteuid() != 0:
        raise MachineUnfit(f"root is needed to install: {' '.join(lacking)}")
    log = CACHE / "logs" / "packages.log"
    settings = environment({"DEBIAN_FRONTEND": "noninteractive"})
    say(f"installing {' '.join(lacking)}")
    run("apt-get update", ["apt-get", "update"], log=log, environment=settings)
    run(
        f"apt-get install of {len(lacking)} packages",
        ["apt-get", "install", "--yes", "--no-install-recommends", *lacking],
        log=log,
        environment=settings,
    )


def main() -> int:
    """Install; 1 and one line on stderr when that fails."""
    try:
        install()
    except DevError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
