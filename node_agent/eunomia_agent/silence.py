# SPDX-License-Identifier: Apache-2.0
"""For how long nothing was heard of the operator, whoever sets the machine's clock meanwhile."""

import time
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time by two clocks. wall: Unix time in seconds. boot: seconds since the machine's start,
    sleep included. boot_id: which start that was; empty where it is not known.
    """

    wall: float
    boot: float = 0.0
    boot_id: str = ""

    @classmethod
    def now(cls) -> "Moment":
        """Return this one."""
        return cls(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), _boot_id())

    def until(self, now: "Moment") -> float:
        """Return the seconds from this moment to another: the more of both clocks.

        A clock that was set back shortens nothing. After a restart of the machine it is at least as
        long as that has run.
        """
        apart = now.wall - self.wall
        if not self.boot_id or not now.boot_id:
            return max(0.0, apart)
        since = now.boot - self.boot if self.boot_id == now.boot_id else now.boot
        return max(0.0, apart, since)


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
