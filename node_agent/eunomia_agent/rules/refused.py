# SPDX-License-Identifier: Apache-2.0
"""Rows of calls that the kernel refuses for a rule, and who tells of them.

The program that refuses a call tells of it to the job that denies. Those that only look may see it
fail, and tell of it to the job that observes.
"""

import json
from collections.abc import Mapping

import numpy as np

from eunomia_agent.events.kinds import CALL
from eunomia_agent.events.layout import KIND
from eunomia_agent.events.where import in_order, met
from eunomia_agent.events.where.scope import Part, Scope
from eunomia_agent.events.where.vector import Mask, Vector, constant
from eunomia_agent.rules.judge import Conjuncts, Reading
from eunomia_agent.rules.rows import Index
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_api.where import parse, syntax

ERROR = "error"


class Attempted(Scope):
    """Rows as they would be, had nothing failed: so a rule is asked about what is not yet done."""

    def __init__(self, whole: Scope) -> None:
        self._whole = whole

    def __len__(self) -> int:
        return len(self._whole)

    def value(self, name: syntax.Name) -> Vector:
        """Return what a name stands for in each row."""
        if name.name == ERROR and name.kind == "column":
            return constant("")
        return self._whole.value(name)


class Refused:
    """Tells of which rows the job that denies tells. trackers: of the catalogue, by name."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = trackers
        self._seen: dict[str, Conjuncts | None] = {}

    def among(self, broken: Index, reading: Reading, tracker: str, scope: Scope) -> Mask:
        """Tell of each of the rows that break a rule whether the kernel refused it for that.

        What something else refused with the same error counts as refused, too.
        """
        if tracker not in self._seen:
            self._seen[tracker] = _as_seen(self._trackers[tracker])
        refused = self._seen[tracker]
        if refused is None:
            return np.zeros(len(broken), np.bool_)
        ours = met(refused, Part(scope, broken))
        if not ours.any():
            return ours
        return ours & np.isin(broken, reading.broken_by(Attempted(scope)))


def _as_seen(tracker: Tracker) -> Conjuncts | None:
    """Return how refused calls look to programs that only look; None: these do not see them."""
    if not tracker.denies or ERROR not in {column.name for column in tracker.columns}:
        return None
    kinds = sorted({kind for refused in tracker.denies.values() for kind in refused})
    column = KIND if KIND in {column.name for column in tracker.columns} else CALL
    of_kind = f" && {column} in {json.dumps(kinds)}" if kinds else ""
    return in_order(parse(f'{ERROR} == "EPERM"{of_kind}', tracker.columns))
