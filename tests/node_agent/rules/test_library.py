# SPDX-License-Identifier: Apache-2.0
"""Every built-in rule does what its examples say, judged as live rows are."""

import pytest

from eunomia_agent.rules.judge import compile_all
from eunomia_agent.rules.replay import example, replay
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2, library
from eunomia_api.duration import seconds
from eunomia_api.message import rule_message
from eunomia_api.rule import Example

TRACKERS = Catalogue.load().trackers
RULES = library.built_in().rules
WIRE = [rule_message(rule, name) for name, rule in RULES.items()]


def told_of(case: Example) -> list[agent_pb2.Alert]:
    """What all rules that read its tracker tell of an example."""
    every_ns = int(seconds(case.every) * 1e9)
    rows = list(
        example(case.tracker, case.row, times=case.times, every_ns=every_ns, vary=case.vary)
    )
    rows[0].check(TRACKERS[case.tracker], known_only=True)
    readers = [rule for rule in WIRE if case.tracker in rule.trackers]
    alerts, report = replay(readers, rows, TRACKERS)
    assert not report.problems
    assert len(alerts) == report.events + report.warnings + report.alerts - report.dropped
    return alerts


def cases(which: str) -> list[object]:
    return [
        pytest.param(name, case, id=f"{name}-{number}")
        for name, rule in RULES.items()
        for number, case in enumerate(getattr(rule.examples, which))
    ]


def test_every_rule_can_be_judged() -> None:
    compiled, problems = compile_all(WIRE, TRACKERS)
    assert not problems
    assert [rule.name for rule in compiled] == list(RULES)


@pytest.mark.parametrize(("name", "case"), cases("fires"))
def test_what_breaks_a_rule_is_told_once(name: str, case: Example) -> None:
    (alert,) = [alert for alert in told_of(case) if alert.rule == name]
    assert alert.message
    assert "{" not in alert.message
    assert list(alert.tags) == RULES[name].tags
    assert alert.tracker == case.tracker


@pytest.mark.parametrize(("name", "case"), cases("silent"))
def test_what_does_not_break_a_rule_is_not_told(name: str, case: Example) -> None:
    assert name not in {alert.rule for alert in told_of(case)}
