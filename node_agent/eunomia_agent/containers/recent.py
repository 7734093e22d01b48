# SPDX-License-Identifier: Apache-2.0
"""What went wrong lately, out of counts that only ever go up."""

from collections import deque

STEPS = 60
"""Into how many steps the time is cut: what is over is forgotten a step late at most."""


class Recent:
    """By how much a total grew in the last `seconds`. A few numbers, however fast it grows."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._steps = deque[tuple[float, int]]()
        self._before = 0
        """The total when the time that is looked at began."""
        self.total = 0

    def note(self, total: int, now: float) -> int:
        """Take in what the total is now, and return by how much it grew lately. now: seconds."""
        if total != self.total:
            began = now
            if self._steps and now - self._steps[-1][0] < self._seconds / STEPS:
                began, _ = self._steps.pop()
            self._steps.append((began, total))
            self.total = total
        while self._steps and now - self._steps[0][0] >= self._seconds:
            _, self._before = self._steps.popleft()
        return total - self._before
