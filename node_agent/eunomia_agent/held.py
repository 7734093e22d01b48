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


def jobs_of(rows: Batch) -> dict[int, int]:
    """Return the number of events that the rows stand for, for each job slot."""
    jobs = rows.fixed["jobs"]
    union = int(np.bitwise_or.reduce(jobs)) if len(jobs) else 0
    return {
        slot: rows.take(((jobs >> np.uint64(slot)) & np.uint64(1)).astype(np.bool_)).weight
        for slot in range(64)
        if union >> slot & 1
    }
