# SPDX-License-Identifier: Apache-2.0
"""How a command is told to end."""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager


class Stop:
    """Set once, by a signal or by whoever finds that there is nothing more to do.

    fileno() is readable from then on, so that both a loop and a write that waits can watch it.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Return the descriptor, never to be read from."""
        return self._fd

    def set(self) -> None:
        """Say that the command is to end."""
        if not self.is_set:
            self.is_set = True
            os.eventfd_write(self._fd, 1)

    @contextmanager
    def on_signals(self) -> Generator[None]:
        """Set at SIGINT and SIGTERM. A second signal has its usual effect: it ends the process."""

        def handle(number: int, _frame: object) -> None:
            signal.signal(number, signal.SIG_DFL)
            self.set()

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, handle) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
