# SPDX-License-Identifier: Apache-2.0
"""How tests in an emulated machine went, from the lines that it tells."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

MARK = "eunomia-kernels: test "
"""What a line of `dev.kernels.telling` begins with."""

NAMES = 3
"""Tests that a summary names of those that were skipped for one reason."""


@dataclass(frozen=True)
class Ended:
    """A test that is over. outcome: passed, failed or skipped; text: why, unless it passed."""

    name: str
    outcome: str
    seconds: float
    text: str

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self.name.partition("::")[0]


@dataclass
class Results:
    """What is known so far of one run."""

    planned: dict[str, int] = field(default_factory=dict)
    """Tests by file."""
    ended: list[Ended] = field(default_factory=list)
    running: str = ""
    """The test that began and is not over."""

    def hear(self, line: str) -> bool:
        """Take in a line; false where it tells nothing of a test."""
        if not line.startswith(MARK):
            return False
        told = json.loads(line.removeprefix(MARK))
        if "planned" in told:
            self.planned = told["planned"]
        elif "began" in told:
            self.running = told["began"]
        else:
            self.ended.append(
                Ended(told["ended"], told["outcome"], told["seconds"], told["text"].strip())
            )
            self.running = ""
        return True

    def of(self, outcome: str) -> list[Ended]:
        """The tests that ended so."""
        return [each for each in self.ended if each.outcome == outcome]

    @property
    def missing(self) -> int:
        """How many tests were found and have not ended."""
        ended = sum("::" in each.name for each in self.ended)
        return sum(self.planned.values()) - ended

    @property
    def good(self) -> bool:
        """Whether there were tests, all of them ended, and none failed."""
        return bool(self.ended) and not self.missing and not self.of("failed")

    def line(self, file: str) -> str:
        """How the tests of one file went, and how long they took."""
        ended = [each for each in self.ended if each.file == file]
        return f"{counted(ended)} in {duration(sum(each.seconds for each in ended))}"

    def summary(self) -> list[str]:
        """Say how many tests went how, then which ones failed, and what was skipped and why."""
        lines = [counted(self.ended)]
        lines += [f"  failed: {each.name}" for each in self.of("failed")]
        reasons: dict[str, list[str]] = defaultdict(list)
        for each in self.of("skipped"):
            reasons[each.text].append(each.name)
        for reason, names in reasons.items():
            more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
            lines += [f"  skipped: {reason}", f"    {', '.join(names[:NAMES])}{more}"]
        if self.running:
            lines.append(f"  never came to its end: {self.running}")
        if self.missing:
            lines.append(f"  without a result: {self.missing} of {sum(self.planned.values())}")
        return lines


def counted(ended: list[Ended]) -> str:
    """Return how many tests ended how: `50 passed, 1 failed`."""
    counts = Counter(each.outcome for each in ended)
    outcomes = ("passed", "failed", "skipped")
    return ", ".join(f"{counts[each]} {each}" for each in outcomes if counts[each]) or "no tests"


def duration(seconds: float) -> str:
    """Return a time as people say it: `4 min 10 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
