# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest that tells, a line each, how tests go: it runs inside the emulated machine.

A line is BEGIN and a JSON object with one of the keys of `Results.hear`. All else that would be
written to stdout is not: one line of a serial console is all that the machine has.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from typing import Any

import pytest

from dev.kernels.results import MARK

_channel = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

_outcomes: dict[str, tuple[str, float, str]] = {}


def _tell(**what: Any) -> None:
    os.write(_channel, f"\n{MARK}{json.dumps(what)}\n".encode())


def _add(name: str, outcome: str, seconds: float, text: str) -> None:
    """Keep the worst of what a test's three phases come to."""
    before, so_far, texts = _outcomes.get(name, ("passed", 0.0, ""))
    worst = before if outcome == "passed" or before == "failed" else outcome
    _outcomes[name] = (worst, so_far + seconds, texts + text)


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    captured = "".join(f"\n--- {title} ---\n{text}" for title, text in report.sections)
    return report.longreprtext + captured if report.failed else ""


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be read, or that says as a whole that it is not for this machine."""
    if not report.passed:
        _tell(ended=report.nodeid, outcome=report.outcome, seconds=0.0, text=_why(report))


def pytest_collection_finish(session: pytest.Session) -> None:
    """How many tests there are."""
    _tell(planned=dict(Counter(item.nodeid.partition("::")[0] for item in session.items)))


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""
    _tell(began=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A phase of a test is over."""
    _add(report.nodeid, report.outcome, report.duration, _why(report))


def pytest_runtest_logfinish(nodeid: str) -> None:
    """A test is over."""
    outcome, seconds, text = _outcomes.pop(nodeid)
    _tell(ended=nodeid, outcome=outcome, seconds=seconds, text=text)


def pytest_internalerror(excrepr: object) -> None:
    """Pytest itself failed."""
    print(excrepr, file=sys.stderr, flush=True)
