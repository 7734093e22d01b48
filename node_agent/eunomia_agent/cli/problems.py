# SPDX-License-Identifier: Apache-2.0
"""What goes wrong while jobs run, told to a person."""

import re
import sys
from collections.abc import Iterable

from eunomia_agent.cli.errors import one_line
from eunomia_agent.cli.local import FAILED
from eunomia_agent.jobs.standing import Standing

MAX_TOLD = 1000
"""Problems that are remembered: a daemon may run into any number, such as with each file."""
_NUMBER = re.compile(r"\d[\d.,]*")


class Problems:
    """Tells on standard error what goes wrong with jobs, each thing once.

    What differs in its numbers alone, such as rates and counts, is the same thing.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, standing: Standing) -> None:
        """Tell what is new."""
        self.tell_of((standing.problem or "").split("; "))
        for report in standing.reports.values():
            self.tell_of(report.degraded.split("; "))
            if report.state in FAILED:
                self.tell_of([report.message])

    def tell_of(self, problems: Iterable[str]) -> None:
        """Tell of those that are new."""
        for problem in problems:
            thing = _NUMBER.sub("0", problem)
            if problem and thing not in self._told:
                if len(self._told) >= MAX_TOLD:
                    self._told.clear()
                self._told.add(thing)
                sys.stderr.write(f"eunomia: {one_line(problem)}\n")
