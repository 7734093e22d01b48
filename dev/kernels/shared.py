# SPDX-License-Identifier: Apache-2.0
"""A machine like this one with another kernel over this one's files, by virtme-ng.

It can read them, and change none.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev.folders import PROJECT
from dev.kernels import machine


def run(image: Path, command: Sequence[str], *, seconds: float) -> Iterator[str]:
    """Run a command as root in the project's folder; yield what it says.

    Raises CommandFailed when it does not come to its end in time, MachineUnfit without emulator.
    """
    machine.emulator(platform.machine())
    folder = PROJECT / "build"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="kernels-", suffix=".sh") as file:
        file.write(machine.script(command, PROJECT))
        file.flush()
        argv = ["vng", "--verbose", "--disable-kvm", "--disable-microvm"]
        argv += ["--cpus", "2", "--memory", "2G", "--user", "root"]
        # Else Debian's refuse what comes by that way, and no test reaches it.
        argv += ["--append", "syscall.x32=y"]
        argv += ["--run", str(image), "--exec", f"sh {file.name}"]
        yield from machine.follow(argv, seconds=seconds)
