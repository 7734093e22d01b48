# SPDX-License-Identifier: Apache-2.0
"""The tables of a running tracker, read and emptied once an interval. See tally.h."""

import struct
import time
from collections.abc import Iterator

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.tally import TRACES, Tally, tally_layouts
from eunomia_agent.kernel.object import Object
from eunomia_agent.kernel.rcu import wait_for_programs

FIRST = bytes(4)
EPOCH = struct.Struct("=I")


class Tables:
    """False where a tracker has none. A set of jobs is an int, bit i for the job in slot i."""

    def __init__(self, loaded: Object) -> None:
        layouts = tally_layouts(loaded.btf)
        self._tallies = [
            Tally(loaded.map(table), layout, loaded.maps.get(TRACES) if table == "stacks" else None)
            for table, layout in layouts.items()
        ]
        self._epoch_map = loaded.map("epoch") if layouts else None
        self._epoch = 0
        self.read_at = time.monotonic()
        """When the interval of now began, in seconds of the monotonic clock."""
        self.interval = 0.0
        """Seconds that the rows stand for that were given last."""

    def __bool__(self) -> bool:
        return bool(self._tallies)

    def take(self, jobs: int) -> Iterator[Batch]:
        """Begin a new interval, and give the rows of the one that is over, for these jobs."""
        assert self._epoch_map is not None
        self._epoch = (self._epoch + 1) % 2**32
        self._epoch_map.update(FIRST, EPOCH.pack(self._epoch))
        wait_for_programs()
        now = time.monotonic()
        self.interval, self.read_at = round(now - self.read_at, 3), now
        for tally in self._tallies:
            rows = tally.take(self._epoch, _boot_time_ns(), jobs)
            if len(rows):
                yield rows

    def take_cgroups(self, cgroups: set[int], jobs: int) -> Iterator[Batch]:
        """Give the rows of cgroups that are gone, before their interval is over."""
        self.interval = round(time.monotonic() - self.read_at, 3)
        for tally in self._tallies:
            rows = tally.take_cgroups(cgroups, _boot_time_ns(), jobs)
            if len(rows):
                yield rows


def _boot_time_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
