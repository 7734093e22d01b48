# SPDX-License-Identifier: Apache-2.0
"""Rows as rules see them, whether they have just come or were recorded."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.where.scope import Scope
from eunomia_agent.sinks.rows import Rows

Index = NDArray[np.intp]
ENFORCED, REFUSED = 2 | 4, 8
"""subject_killed and subject_denied; subject_refused: see enum subject_flags of eunomia.h."""


class Judged(Protocol):
    """n rows of one owner, of one result of a tracker.

    offset_ns: what makes Unix time of their times.
    """

    tracker: str
    owner: Owner
    scope: Scope
    offset_ns: int

    @property
    def times(self) -> NDArray[np.int64]:
        """When each was, in nanoseconds of one clock: int64 of shape (n,)."""
        ...

    @property
    def enforced(self) -> NDArray[np.bool_]:
        """Whether its process was sent SIGKILL, or was refused it: bool of shape (n,)."""
        ...

    @property
    def refused(self) -> NDArray[np.bool_]:
        """Whether it was refused, and another job tells of that: bool of shape (n,)."""
        ...

    def json(self, rows: Index) -> Sequence[bytes]:
        """Return some rows as JSON; see sinks.rows.Rows.json."""
        ...


class Live:
    """Rows that have just come; their times are of CLOCK_BOOTTIME."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.tracker = rows.tracker
        self.owner = rows.owner
        self.scope = Scope(rows.batch, rows.constants)
        self.offset_ns = rows.offset_ns

    @property
    def times(self) -> NDArray[np.int64]:
        """See Judged."""
        times: NDArray[np.int64] = self._rows.batch.fixed["time"].astype(np.int64)
        return times

    @property
    def enforced(self) -> NDArray[np.bool_]:
        """See Judged."""
        return _flagged(self._rows, ENFORCED)

    @property
    def refused(self) -> NDArray[np.bool_]:
        """See Judged."""
        return _flagged(self._rows, REFUSED)

    def json(self, rows: Index) -> Sequence[bytes]:
        """Return some rows as JSON. No others are rendered for it."""
        return list(self._rows.take(rows).json())


def _flagged(rows: Rows, any_of: int) -> NDArray[np.bool_]:
    """Read the kernel's own word; results that add up what several did have none."""
    if "subject_flags" not in rows.batch.layout:
        return np.zeros(len(rows), np.bool_)
    flags: NDArray[np.uint32] = rows.batch.fixed["subject_flags"]
    flagged: NDArray[np.bool_] = (flags & any_of) != 0
    return flagged
