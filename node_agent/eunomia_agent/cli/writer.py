# SPDX-License-Identifier: Apache-2.0
"""Writes to standard output, waiting for a slow reader, but not once the command is to end."""

import os
import select
import stat
import time

from eunomia_agent.cli.stop import Stop

PATIENCE_SECONDS = 1.0
"""How long a reader may keep writes waiting, in all, after the command was told to end."""


class Writer:
    """Blocks of whole lines to a descriptor.

    A pipe that poll(2) calls writable takes PIPE_BUF bytes without blocking, see pipe(7), so that
    no write outlasts a signal. closed: the reader is gone, which ends the command. problem: why
    the last write fell short.
    """

    def __init__(self, fd: int, stop: Stop) -> None:
        self._fd = fd
        self._stop = stop
        self._owed = b""
        self._left = PATIENCE_SECONDS
        self.closed = False
        self.problem: str | None = None
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._block = 1 << 20 if regular else select.PIPE_BUF
        self._writable = select.poll()
        self._writable.register(fd, select.POLLOUT)
        self._either = select.poll()
        self._either.register(fd, select.POLLOUT)
        self._either.register(stop.fileno(), select.POLLIN)

    def write(self, data: bytes | memoryview) -> int:
        """Write lines; return how many bytes were taken.

        What is left of a line that was begun when the medium was full goes before the next block.
        """
        self._owed = self._owed[self._push(self._owed) :]
        if self._owed:
            return 0
        written = self._push(memoryview(data))
        if 0 < written < len(data) and bytes(data[written - 1 : written]) != b"\n":
            rest = bytes(data[written:])
            self._owed = rest[: rest.index(b"\n") + 1]
            written += len(self._owed)
        return written

    def look(self) -> None:
        """See whether the reader has gone: a pipe without one is in error, see poll(2)."""
        if any(events & select.POLLERR for _, events in self._writable.poll(0)):
            self._leave()

    def _leave(self) -> None:
        self.closed = True
        self._stop.set()

    def _push(self, data: bytes | memoryview) -> int:
        written = 0
        self.problem = None
        try:
            while written < len(data) and self._wait():
                written += os.write(self._fd, data[written : written + self._block])
        except BrokenPipeError:
            self._leave()
        except OSError as error:
            self.problem = error.strerror or str(error)
        return written

    def _wait(self) -> bool:
        if self.closed:
            return False
        while not self._stop.is_set:
            if any(fd == self._fd for fd, _ in self._either.poll()):
                return True
        began = time.monotonic()
        ready = self._writable.poll(max(0, int(self._left * 1000)))
        self._left -= time.monotonic() - began
        return bool(ready)
