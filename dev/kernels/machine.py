# SPDX-License-Identifier: Apache-2.0
"""A machine in an emulator, with a kernel of its own and this machine's files, by virtme-ng.

Emulated in software: under KVM the kernels of a distribution may not start on a machine that is a
small virtual one itself. So all is some ten times slower than outside.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dev.command import environment, found
from dev.errors import CommandFailed, MachineUnfit
from dev.folders import PROJECT

MARK = "eunomia-kernels: exit "
EMULATOR = "qemu-system-x86_64"


def run(image: Path, command: Sequence[str], *, seconds: float) -> int:
    """Run a command as root under another kernel, its output on ours; return its exit code.

    Raises CommandFailed when the kernel does not come up, or the time is over.
    """
    if not found(EMULATOR):
        raise MachineUnfit(f"{EMULATOR} is not installed: apt-get install qemu-system-x86")
    script = _script(command)
    tools = Path(sys.executable).parent
    path = f"{tools}:{environment()['PATH']}"
    argv = [str(tools / "vng"), "--verbose", "--disable-kvm", "--disable-microvm"]
    argv += ["--cpus", "2", "--memory", "2G", "--user", "root"]
    argv += ["--run", str(image), "--exec", f"sh {script}"]
    # virtme-ng wants a terminal: script(1) is one.
    process = subprocess.Popen(
        ["script", "--quiet", "--return", "--command", shlex.join(argv), "/dev/null"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment({"PATH": path}),
        start_new_session=True,
    )
    limit = threading.Timer(seconds, process.kill)
    limit.start()
    began = time.monotonic()
    try:
        return _follow(process)
    except CommandFailed as error:
        late = time.monotonic() - began >= seconds
        raise CommandFailed(
            f"{error}: {f'not within {seconds:.0f} s' if late else 'no end'}"
        ) from error
    finally:
        limit.cancel()
        process.kill()
        process.wait()


def _follow(process: subprocess.Popen[str]) -> int:
    """Pass on what the command says, and leave out what the kernel says."""
    assert process.stdout is not None
    log: list[str] = []
    speaks = False
    for line in process.stdout:
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", line).rstrip("\n")
        log = [*log[-40:], text]
        if text.startswith("eunomia-kernels: begin"):
            speaks = True
        elif text.startswith(MARK):
            return int(text.removeprefix(MARK))
        elif speaks and not re.match(r"\[ *\d+\.\d+\]", text):
            print(text, flush=True)
    print("\n".join(log), file=sys.stderr)
    raise CommandFailed("the kernel did not come to the command's end")


def _script(command: Sequence[str]) -> Path:
    """Write what runs inside: the mounts that a distribution has, then the command."""
    folder = PROJECT / "build"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kernels.sh"
    path.write_text(
        "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null\n"
        "mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
        "ip link set lo up\n"
        f"cd {shlex.quote(str(PROJECT))}\n"
        "echo eunomia-kernels: begin\n"
        f"{shlex.join(command)}\n"
        f'echo "{MARK}$?"\n'
    )
    return path
