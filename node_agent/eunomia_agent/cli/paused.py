# SPDX-License-Identifier: Apache-2.0
"""A command in a cgroup of its own, in which it is before it is anything."""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eunomia_agent.cli.errors import CommandError

PATIENCE_SECONDS = 3.0
"""What a command is given to end what it started, and then that to end by itself."""
_NOT_FOUND = 127


class Paused:
    """A process that waits to become the command.

    root: where the hierarchy is mounted. Raises CommandError.
    """

    def __init__(self, command: Sequence[str], root: Path | None) -> None:
        program = shutil.which(command[0])
        if program is None:
            raise CommandError(f"there is no command {command[0]}")
        if root is None:
            raise CommandError("no hierarchy of cgroups is mounted here for the command's own")
        self.cgroup = root / f"eunomia-seccomp-{os.getpid()}"
        try:
            self.cgroup.mkdir()
        except OSError as error:
            raise CommandError(f"no cgroup for the command: {error}") from None
        ready, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            _become(ready, program, command)
        os.close(ready)

    @property
    def cgroup_id(self) -> int:
        """The id of its cgroup."""
        return self.cgroup.stat().st_ino

    def start(self) -> None:
        """Put it into the cgroup and let it go."""
        (self.cgroup / "cgroup.procs").write_text(str(self.pid))
        os.write(self._go, b"x")
        os.close(self._go)

    def pids(self) -> list[int]:
        """Return what runs in the cgroup and in those below."""
        found: list[int] = []
        for folder, _, _ in os.walk(self.cgroup):
            found += map(int, (Path(folder) / "cgroup.procs").read_text().split())
        return found

    def running(self) -> list[int]:
        """Return those of them that have not ended."""
        return [pid for pid in self.pids() if not _is_zombie(pid)]

    def end(self) -> int:
        """End it, then what it started; return its exit code, as a shell has it."""
        began = time.monotonic()
        while running := self.running():
            age = time.monotonic() - began
            # It ends its own children in its own way, which is worth recording too.
            for pid in [self.pid] if age < PATIENCE_SECONDS and self.pid in running else running:
                _kill(pid, signal.SIGTERM if age < 2 * PATIENCE_SECONDS else signal.SIGKILL)
            self._wait(running)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._remove()
        return code if code >= 0 else 128 - code

    def _wait(self, running: Sequence[int]) -> None:
        """Wait for processes to end, for a while: a signal once a second is enough."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and self.running() == running:
            time.sleep(0.02)

    def _remove(self) -> None:
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            for _ in range(100):
                try:
                    os.rmdir(folder)
                    break
                except OSError:  # the last process is not quite gone
                    time.sleep(0.01)


def _become(ready: int, program: str, command: Sequence[str]) -> None:
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if os.read(ready, 1):
            os.execv(program, [*command])  # noqa: S606  (it is the user's own)
    except OSError as error:
        os.write(2, f"eunomia: {command[0]} cannot be run: {error.strerror}\n".encode())
    finally:
        os._exit(_NOT_FOUND)


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat[stat.rfind(b")") + 2 :][:1] in (b"Z", b"X")


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
