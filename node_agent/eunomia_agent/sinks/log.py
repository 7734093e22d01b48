# SPDX-License-Identifier: Apache-2.0
"""Rows as JSON lines on the agent's standard output, at a bounded rate."""

import json
import os
import select
import time
from collections.abc import Callable, Iterable

from eunomia_agent.events.lines import Lines
from eunomia_agent.sinks.rows import Rows

ROWS_PER_SECOND = 1000
PATIENCE_SECONDS = 0.05
"""How long writes may wait for a slow reader, one after another, before they refuse at once."""
PATIENCE_REGAINED = 0.1
"""The share of the time that may go into waiting in the long run."""


class LineWriter:
    """Whole lines to a descriptor that several sinks share, never blocking for long.

    A pipe that poll(2) calls writable takes PIPE_BUF bytes without blocking, see pipe(7). The
    descriptor is not made non-blocking: its other users, such as standard error, would notice.
    """

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._owed = b""
        self._patience = PATIENCE_SECONDS
        self._at = time.monotonic()
        self.problem: str | None = None

    def write(self, lines: Lines) -> int:
        """Write lines; return how many, from the first, were taken.

        A line that was begun counts as taken and is ended by the next write, whoever makes it.
        """
        now = time.monotonic()
        regained = (now - self._at) * PATIENCE_REGAINED
        self._patience = min(PATIENCE_SECONDS, self._patience + regained)
        self._at = now
        taken = 0
        self.problem = None
        self._push(self._owed)
        while taken < len(lines) and not self._owed:
            count = lines.fitting(select.PIPE_BUF, taken) or 1
            if not self._push(bytes(lines.part(taken, taken + count))):
                break
            taken += count
        return taken

    def _push(self, data: bytes) -> bool:
        """Write data, or owe the rest of it; False when not a byte could be written."""
        left = data
        try:
            while left and self._writable():
                left = left[os.write(self._fd, left[: select.PIPE_BUF]) :]
        except BrokenPipeError:  # the reader is gone, and with it the line that was begun
            self._owed = b""
            self.problem = "standard output: its reader is gone"
            return False
        except OSError as error:
            self.problem = f"standard output: {error.strerror or error}"
        begun = len(left) < len(data)
        if begun or data == self._owed:
            self._owed = left
        return begun

    def _writable(self) -> bool:
        began = time.monotonic()
        ready = self._poll.poll(int(self._patience * 1000))
        self._patience = max(0.0, self._patience - (time.monotonic() - began))
        if ready:
            return True
        self.problem = "standard output: its reader is too slow"
        return False


class LogSink:
    """Hands rows of one job to standard output, with the job's name in each.

    job: "namespace/name", or "name". What comes above the rate, after a burst of one second's
    worth, is limited.
    """

    name = "log"

    def __init__(
        self,
        writer: LineWriter,
        job: str,
        *,
        rows_per_second: int = ROWS_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._head = b'{"job":%s,' % json.dumps(job).encode()
        self._rate = rows_per_second
        self._clock = clock
        self._allowance = float(rows_per_second)
        self._at = clock()
        self.limited = 0
        self.problem: str | None = None

    def write(self, rows: Rows) -> int:
        """Write rows; see Sink."""
        allowed = self._allowed(len(rows))
        return self._hand_on(rows.take(slice(allowed)).json())

    def append(self, line: bytes) -> bool:
        """Write one JSON object, as a row is; return whether it was taken."""
        if not self._allowed(1):
            self.problem = f"more than {self._rate} lines a second"
            return False
        return self._hand_on([line]) == 1

    def _allowed(self, count: int) -> int:
        now = self._clock()
        self._allowance = min(self._rate, self._allowance + (now - self._at) * self._rate)
        self._at = now
        allowed = min(count, int(self._allowance))
        self.limited = count - allowed
        return allowed

    def _hand_on(self, lines: Iterable[bytes]) -> int:
        taken = self._writer.write(Lines.of(self._head + line[1:] for line in lines))
        self._allowance -= taken
        self.problem = self._writer.problem
        return taken

    def close(self) -> None:
        """Do nothing: standard output stays open for others."""
