# SPDX-License-Identifier: Apache-2.0
"""What an emulated machine says, from its start to the end of the one command that it runs.

Emulated in software: under KVM the kernels of a distribution may not start on a machine that is a
small virtual one itself. So all is some ten times slower than outside.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from dev.command import environment, found
from dev.errors import CommandFailed, MachineUnfit

BEGIN = "eunomia-kernels: begin"
END = "eunomia-kernels: end"
PACKAGES = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def emulator(machine: str) -> str:
    """Return the name of the program that emulates a machine. Raises MachineUnfit."""
    name = f"qemu-system-{machine}"
    if not found(name):
        raise MachineUnfit(f"{name} is not installed: apt-get install {PACKAGES[machine]}")
    return name


def script(command: Sequence[str], folder: Path) -> str:
    """Return what a shell inside runs: the mounts that a distribution has, then the command.

    The kernel's own messages stay off the console, save when it dies: they would fall into the
    middle of a line.
    """
    return (
        "echo 1 >/proc/sys/kernel/printk\n"
        "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null\n"
        "mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
        "ip link set lo up\n"
        f"cd {shlex.quote(str(folder))}\n"
        f"echo {shlex.quote(BEGIN)}\n"
        f"{shlex.join(command)}\n"
        f"echo {shlex.quote(END)}\n"
    )


def follow(argv: Sequence[str | Path], *, seconds: float) -> Iterator[str]:
    """Start an emulator and yield what the command inside says, a line each.

    Raises CommandFailed when the machine does not come to the command's end, or not in time.
    """
    tools = Path(sys.executable).parent
    # virtme-ng wants a terminal. This one ends with our process, however that ends, and the kernel
    # hangs up on its session then: virtme-ng and the emulator.
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *argv],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"PATH": f"{tools}:{environment()['PATH']}"}),
    )
    os.close(theirs)
    limit = threading.Timer(seconds, _end, (process,))
    limit.start()
    began = time.monotonic()
    try:
        with os.fdopen(ours, errors="replace") as terminal:
            yield from _lines(terminal)
    except CommandFailed as error:
        if time.monotonic() - began < seconds:
            raise
        raise CommandFailed(f"the machine was ended after {seconds:.0f} s") from error
    finally:
        limit.cancel()
        limit.join()
        _end(process)
        process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the group that setsid made, and the process where it came to none."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _lines(terminal: TextIO) -> Iterator[str]:
    """Leave out what the kernel says before the command begins."""
    log: list[str] = []
    speaks = False
    try:
        for line in terminal:
            text = CONTROL.sub("", line).rstrip("\n")
            log = [*log[-40:], text]
            if text.startswith(BEGIN):
                speaks = True
            elif text.startswith(END):
                return
            elif speaks and text:
                yield text
    except OSError:  # EIO: nobody has the other end open any more
        pass
    said = "" if speaks else "".join(f"\n    {text}" for text in log)
    raise CommandFailed(f"the machine ended before the command did{said}")
