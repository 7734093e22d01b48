# SPDX-License-Identifier: Apache-2.0
"""What goes wrong while jobs run, told to a person."""

import sys
from collections.abc import Iterable

from eunomia_agent.cli.errors import one_line
from eunomia_agent.cli.local import FAILED
from eunomia_agent.standing import Standing


class Problems:
    """Tells on standard error what goes wrong with jobs, each thing once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, standing: Standing) -> None:
        """Tell what is new."""
        for report in standing.reports.values():
            self.tell_of(report.degraded.split("; "))
            if report.state in FAILED:
                self.tell_of([report.message])

    def tell_of(self, problems: Iterable[str]) -> None:
        """Tell of those that are new."""
        for problem in problems:
            if problem and problem not in self._told:
                self._told.add(problem)
                sys.stderr.write(f"eunomia: {one_line(problem)}\n")
