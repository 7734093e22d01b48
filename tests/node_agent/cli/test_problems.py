# SPDX-License-Identifier: Apache-2.0
"""What goes wrong is told once, and not each second anew."""

import pytest

from eunomia_agent.cli import problems
from eunomia_agent.cli.problems import Problems
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.trackers.ladder import Ladder, Rung
from eunomia_api import agent_pb2


def standing(degraded: str, problem: str | None = None) -> Standing:
    """Where a job stands of which this is wrong."""
    return Standing(reports={"a": agent_pb2.JobReport(degraded=degraded)}, problem=problem)


def test_a_flood_is_told_once_a_rung_whatever_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    ladder, told = Ladder(1000), Problems()
    rungs = []
    for second in range(12):
        rungs.append(ladder.step(float(second), 600_000.0 + second))
        told.tell(standing(f"opensnoop: {ladder.told()}" if ladder.told() else ""))
    assert set(rungs) == set(Rung)
    counted, stopped, *more = capsys.readouterr().err.splitlines()
    assert counted.startswith("eunomia: opensnoop: events are only counted: 600,00")
    assert stopped.startswith("eunomia: opensnoop: stopped, to be tried again within 60 s: 600,00")
    assert not more


def test_what_keeps_owners_from_being_known_is_told_beside_the_jobs_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Problems()
    for lost in (17, 18):
        told.tell(standing(f"tcp: {lost} records could not be read", "no runtime answers; b"))
    assert capsys.readouterr().err.splitlines() == [
        "eunomia: no runtime answers",
        "eunomia: b",
        "eunomia: tcp: 17 records could not be read",
    ]


def test_a_daemon_that_runs_into_ever_more_remembers_a_bounded_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "MAX_TOLD", 2)
    told = Problems()
    told.tell_of(["a", "b", "a", "c", "c", "a"])
    assert capsys.readouterr().err.split("\n") == [*(f"eunomia: {each}" for each in "abca"), ""]
