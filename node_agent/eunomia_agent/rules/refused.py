# SPDX-License-Identifier: Apache-2.0
"""Rows of calls that the kernel refuses for a rule, and who tells of them.

The program that refuses a call tells of it to the job that denies. Those that only look may see it
fail, and tell of it to the job that observes, with a word of the kernel that it was one of ours.
"""

import numpy as np

from eunomia_agent.events.where.scope import Scope
from eunomia_agent.events.where.vector import Mask, Vector, constant
from eunomia_agent.rules.judge import Reading
from eunomia_agent.rules.rows import Index, Judged
from eunomia_api.where import syntax

ERROR, RESULT = "error", "result"


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
        if name.name == RESULT and name.kind == "column":
            return constant(0, np.int64)
        return self._whole.value(name)


def told_elsewhere(broken: Index, reading: Reading, rows: Judged) -> Mask:
    """Tell of each of the rows that break a rule whether the job that denies tells of it."""
    ours: Mask = rows.refused[broken]
    return ours & np.isin(broken, reading.broken_by(Attempted(rows.scope))) if ours.any() else ours
