# SPDX-License-Identifier: Apache-2.0
"""A long-running process that outlives the tool and is found again by its pidfile.

The pidfile is written by the process itself before it becomes the component, so that
no moment exists in which it runs unknown, even when the tool is killed. It holds the
boot id and /proc/PID/stat (proc(5): field 22 is the start time in clock ticks since
boot): a pid that the kernel has given to another process since is never signalled.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev.command import environment
from dev.errors import NotReady
from dev.progress import tail

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

LAUNCH = """
set -e
cat /proc/sys/kernel/random/boot_id /proc/$$/stat > "$1.new"
mv "$1.new" "$1"
if [ -n "$2" ]; then echo $$ > "$2/cgroup.procs"; fi
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Identity:
    """One process of one boot: `start` in clock ticks since that boot."""

    boot: str
    pid: int
    start: int


def identity(pidfile_text: str) -> Identity | None:
    """Read a pidfile's text; None when it is not whole."""
    boot, _, stat = pidfile_text.partition("\n")
    pid, _, rest = stat.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    if not boot or not pid.isdecimal() or len(fields) < 20:
        return None
    return Identity(boot=boot, pid=int(pid), start=int(fields[19]))


def alive(pid: int) -> Identity | None:
    """Who has this pid now; None for nobody and for a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if stat.rpartition(") ")[2].startswith(("Z", "X")):
        return None
    return identity(f"{BOOT_ID.read_text().strip()}\n{stat}")


class Process:
    """A named process with `NAME.pid` in one folder and `NAME.log` in another."""

    def __init__(self, name: str, *, pids: Path, logs: Path) -> None:
        self.name = name
        self.pidfile = pids / f"{name}.pid"
        self.log = logs / f"{name}.log"

    def pid(self) -> int | None:
        """The pid while the very process of the pidfile runs, else None."""
        known = self._known()
        return known.pid if known and alive(known.pid) == known else None

    def start(
        self,
        argv: Sequence[str],
        *,
        cgroup: Path | None = None,
        extra_environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start it in a session of its own unless it runs; gives the pid.

        It joins `cgroup` (a folder of a cgroup v2 tree) and has the log as stdout and stderr.
        Raises NotReady when it could not even be launched.
        """
        if running := self.pid():
            return running
        self.pidfile.unlink(missing_ok=True)
        self.pidfile.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        launch = ["setsid", "--fork", "/bin/sh", "-c", LAUNCH, "sh"]
        with self.log.open("ab") as log:
            subprocess.run(
                [*launch, str(self.pidfile), str(cgroup or ""), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment(extra_environment),
                check=True,
            )
        return self._launched()

    def stop(self, *, patience: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `patience` seconds; forgets it. Nothing when it is gone."""
        known = self._known()
        if known is not None:
            end(known, patience=patience)
        self.pidfile.unlink(missing_ok=True)

    def _known(self) -> Identity | None:
        try:
            return identity(self.pidfile.read_text())
        except FileNotFoundError:
            return None

    def _launched(self) -> int:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if known := self._known():
                return known.pid
            time.sleep(0.005)
        raise NotReady(f"{self.name} could not be launched; end of {self.log}:\n{tail(self.log)}")


def end(known: Identity, *, patience: float) -> None:
    """End exactly this process; a pidfd keeps the pid from changing hands meanwhile."""
    try:
        fd = os.pidfd_open(known.pid)
    except ProcessLookupError:
        return
    try:
        if alive(known.pid) != known:
            return
        for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, sign)
            if select.select([fd], [], [], seconds)[0]:
                return
        raise NotReady(f"pid {known.pid} does not end even after SIGKILL")
    finally:
        os.close(fd)
