# SPDX-License-Identifier: Apache-2.0
"""Rows of cgroups of which it is not known yet whose they are. They wait here, bounded."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from eunomia_agent.events.batch import Batch
from eunomia_agent.trackers.instance import Instance

MAX_BYTES = 16 * 1024 * 1024
MAX_BYTES_A_CGROUP = 2 * 1024 * 1024


@dataclass(slots=True)
class Waiting:
    """What one cgroup has waiting, in the order of arrival."""

    rows: list[tuple[Instance, Batch]] = field(default_factory=list[tuple[Instance, Batch]])
    size: int = 0
    dropped: Counter[tuple[Instance, int]] = field(default_factory=Counter[tuple[Instance, int]])
    """Events of rows for which there was no room, by instance and job slot."""
    counted: Counter[tuple[Instance, int]] = field(default_factory=Counter[tuple[Instance, int]])
    """Those of them that the kernel had added up: no account of its own holds them."""

    def added_up(self) -> Counter[tuple[Instance, int]]:
        """Return the events that only these rows and numbers tell of: no account holds them.

        They are those of tables, by instance and job slot.
        """
        found = self.counted.copy()
        for instance, rows in self.rows:
            if rows.layout.source != "events":
                for slot, count in jobs_of(rows).items():
                    found[instance, slot] += count
        return found

    def leave_out(self, slot: int) -> None:
        """Take a job out of all rows and numbers; rows that are for no other job go."""
        for _, rows in self.rows:
            rows.fixed["jobs"] &= ~np.uint64(1 << slot)
        self.rows = [(instance, rows) for instance, rows in self.rows if rows.fixed["jobs"].any()]
        self.size = sum(rows.nbytes for _, rows in self.rows)
        for counts in (self.dropped, self.counted):
            for key in [key for key in counts if key[1] == slot]:
                del counts[key]


class Held:
    """Waiting rows by cgroup id, in bounded memory."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._size = 0

    def __contains__(self, cgroup_id: int) -> bool:
        return cgroup_id in self._waiting

    def put(self, cgroup_id: int, instance: Instance, rows: Batch) -> None:
        """Let rows of one cgroup wait; without room they are counted for each job instead."""
        waiting = self._waiting.setdefault(cgroup_id, Waiting())
        rows = rows.compact()  # its own bytes, not those of the whole batch that it came in
        size = rows.nbytes
        if self._size + size > MAX_BYTES or waiting.size + size > MAX_BYTES_A_CGROUP:
            for slot, count in jobs_of(rows).items():
                waiting.dropped[instance, slot] += count
                if rows.layout.source != "events":
                    waiting.counted[instance, slot] += count
            return
        waiting.rows.append((instance, rows))
        waiting.size += size
        self._size += size

    def take(self, cgroup_id: int) -> Waiting:
        """Return what a cgroup has waiting, and forget it."""
        waiting = self._waiting.pop(cgroup_id, Waiting())
        self._size -= waiting.size
        return waiting

    def take_job(self, slot: int) -> Counter[Instance]:
        """Take a job out of all that waits. Returns its events in rows of tables, by instance."""
        events: Counter[Instance] = Counter()
        for waiting in self._waiting.values():
            for (instance, of), count in waiting.added_up().items():
                if of == slot:
                    events[instance] += count
            self._size -= waiting.size
            waiting.leave_out(slot)
            self._size += waiting.size
        return events


def jobs_of(rows: Batch) -> dict[int, int]:
    """Return the number of events that the rows stand for, for each job slot."""
    jobs = rows.fixed["jobs"]
    union = int(np.bitwise_or.reduce(jobs)) if len(jobs) else 0
    return {
        slot: rows.take(((jobs >> np.uint64(slot)) & np.uint64(1)).astype(np.bool_)).weight
        for slot in range(64)
        if union >> slot & 1
    }
