# SPDX-License-Identifier: Apache-2.0
"""Job slots: the bit that stands for a job in the kernel's sets of jobs."""

from collections import deque

from eunomia_agent.errors import TooManyJobs

SLOTS = 64


class Slots:
    """Hands out 0 … 63. The one that was given back first is handed out first, so that a record
    which still carries an ended job's bit is long drained before the bit means another job.
    """

    def __init__(self) -> None:
        self._free = deque(range(SLOTS))

    def take(self) -> int:
        """Return a free slot. Raises TooManyJobs."""
        if not self._free:
            raise TooManyJobs(f"a node runs at most {SLOTS} jobs at a time; all slots are taken")
        return self._free.popleft()

    def give_back(self, slot: int) -> None:
        """Make a slot free again."""
        self._free.append(slot)
