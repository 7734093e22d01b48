# SPDX-License-Identifier: Apache-2.0
"""A rule whose windows contradict each other is refused with what to write instead."""

from typing import Any

import pytest
from pydantic import ValidationError

from eunomia_api.rule import Example, Rule, Severity


def rule(**changes: Any) -> Rule:
    written = {"name": "scan", "events": ["tcp"], "when": 'kind == "connect"', "message": "{comm}"}
    return Rule.model_validate({**written, **changes})


def test_a_short_rule_is_a_warning_a_row_told_once_a_minute_and_container() -> None:
    short = rule()
    assert (short.severity, short.count, short.within) == (Severity.WARNING, 1, None)
    assert (short.group_by, short.deduplicate, short.response) == (["container_id"], "60s", None)


@pytest.mark.parametrize(
    "windows",
    [
        {"count": 20, "within": "10s"},
        {"count": 20, "within": "1m", "distinct": "dport", "groupBy": ["pod", "comm"]},
        {"for": "30s"},
        {"for": "1h", "within": "5m"},
        {"deduplicate": "0s"},
    ],
)
def test_windows_that_make_sense(windows: dict[str, Any]) -> None:
    assert rule(**windows).model_dump(by_alias=True, exclude_unset=True).items() >= windows.items()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"count": 2}, "count needs within: in how long so many must be seen"),
        ({"within": "10s"}, "within needs count (more than 1) or for"),
        ({"count": 2, "within": "1s", "for": "1m"}, "count and for exclude each other"),
        ({"distinct": "dport"}, "distinct needs a count from 2 to 1000, not 1"),
        (
            {"distinct": "dport", "count": 5000, "within": "1s"},
            "distinct needs a count from 2 to 1000, not 5000",
        ),
        ({"count": 2, "within": "0s"}, "0s is out of bounds: more than 0s, at most 1h"),
        ({"for": "2h"}, "2h is out of bounds: more than 0s, at most 1h"),
        ({"deduplicate": "25h"}, "25h is out of bounds: at least 0s, at most 24h"),
        ({"groupBy": ["pod", "comm", "pod"]}, "groupBy names twice: pod"),
        ({"events": ["tcp", "tcp"]}, "events names twice: tcp"),
        ({"severity": "panic"}, "Input should be 'event', 'warning' or 'alert'"),
        ({"examples": {}}, "Extra inputs are not permitted"),
    ],
)
def test_windows_that_make_none(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as invalid:
        rule(**changes)
    assert reason in str(invalid.value)


def test_an_example_may_be_many_rows() -> None:
    example = Example.model_validate(
        {"tracker": "tcp", "row": {"dport": 1}, "times": 50, "every": "10ms", "vary": "dport"}
    )
    assert (example.times, example.every, example.vary) == (50, "10ms", "dport")
