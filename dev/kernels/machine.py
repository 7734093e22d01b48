# SPDX-License-Identifier: Apache-2.0
"""A machine in an emulator, with a kernel of its own and this machine's files, by virtme-ng.

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
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from dev.command import environment, found
from dev.errors import CommandFailed, MachineUnfit
from dev.folders import PROJECT

BEGIN = "eunomia-kernels: begin"
END = "eunomia-kernels: exit "
EMULATOR = "qemu-system-x86_64"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
KERNEL = re.compile(r"\[ *\d+\.\d+\]")


def run(image: Path, command: Sequence[str], *, seconds: float) -> int:
    """Run a command as root under another kernel, its output on ours; return its exit code.

    Raises CommandFailed when the kernel does not come up, or the time is over.
    """
    if not found(EMULATOR):
        raise MachineUnfit(f"{EMULATOR} is not installed: apt-get install qemu-system-x86")
    folder = PROJECT / "build"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="kernels-", suffix=".sh") as script:
        script.write(_script(command))
        script.flush()
        return _boot(image, f"sh {script.name}", seconds)


def _boot(image: Path, command: str, seconds: float) -> int:
    tools = Path(sys.executable).parent
    argv = ["setsid", "--ctty", str(tools / "vng")]
    argv += ["--verbose", "--disable-kvm", "--disable-microvm"]
    argv += ["--cpus", "2", "--memory", "2G", "--user", "root"]
    argv += ["--run", str(image), "--exec", command]
    # virtme-ng wants a terminal. This one ends with our process, however that ends, and the kernel
    # hangs up on its session then: virtme-ng and the emulator.
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv,
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
            return _follow(terminal)
    except CommandFailed as error:
        late = time.monotonic() - began >= seconds
        raise CommandFailed(
            f"{error}: {f'not within {seconds:.0f} s' if late else 'no end'}"
        ) from error
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


def _follow(terminal: TextIO) -> int:
    """Pass on what the command says, and leave out what the kernel says."""
    log: list[str] = []
    speaks = False
    try:
        for line in terminal:
            text = CONTROL.sub("", line).rstrip("\n")
            log = [*log[-40:], text]
            if text.startswith(BEGIN):
                speaks = True
            elif text.startswith(END):
                return int(text.removeprefix(END))
            elif speaks and not KERNEL.match(text):
                print(text, flush=True)
    except OSError:  # EIO: nobody has the other end open any more
        pass
    print("\n".join(log), file=sys.stderr)
    raise CommandFailed("the kernel did not come to the command's end")


def _script(command: Sequence[str]) -> str:
    """What runs inside: the mounts that a distribution has, then the command."""
    return (
        "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null\n"
        "mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
        "ip link set lo up\n"
        f"cd {shlex.quote(str(PROJECT))}\n"
        f"echo {shlex.quote(BEGIN)}\n"
        f"{shlex.join(command)}\n"
        f'echo "{END}$?"\n'
    )
