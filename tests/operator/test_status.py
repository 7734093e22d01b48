# SPDX-License-Identifier: Apache-2.0
"""What a user reads in the status while a job lives."""

import itertools
from typing import Any

import pytest

from eunomia_api.acceptance import NotAccepted
from eunomia_api.tracejob import Failure, NodeCounts, Phase, TraceJobSpec, TraceJobStatus
from eunomia_operator import clock
from eunomia_operator.accounting.ledger import Census
from eunomia_operator.accounting.tally import Tally
from eunomia_operator.cluster.publisher import to_patch
from eunomia_operator.status.job import Facts, is_terminal, is_urgent, judge
from eunomia_operator.status.news import news

START = clock.read("2026-01-01T00:00:00Z")
NEW = TraceJobStatus()


def spec(**changes: Any) -> TraceJobSpec:
    written = {"target": {"podSelector": {}}, "trackers": [{"name": "process"}], **changes}
    return TraceJobSpec.model_validate(written)


def facts(
    after: float, census: Census, verdict: TraceJobSpec | NotAccepted | None = None, **more: Any
) -> Facts:
    return Facts(
        **{
            "now": START + after,
            "led_since": START - 1000,
            "generation": 1,
            "verdict": spec(duration="30s") if verdict is None else verdict,
            "census": census,
            **more,
        }
    )


def told(status: TraceJobStatus) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in status.conditions}


def reasons(before: TraceJobStatus, after: TraceJobStatus) -> list[str]:
    return [each.reason for each in news(before, after)]


def test_a_job_goes_from_pending_to_running_to_complete() -> None:
    pending = judge(NEW, facts(0.4, Census(desired=2)))
    assert (pending.phase, pending.start_time, pending.deadline) == (
        Phase.PENDING,
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:31Z",
    )
    assert told(pending) == {
        "Accepted": ("True", "Accepted"),
        "Running": ("False", "Starting"),
        "Degraded": ("False", "AsExpected"),
    }
    running = judge(
        pending,
        facts(
            1, Census(desired=2, answered=2, running=1, waiting=1), pods=3, events=Tally(10, 9, 1)
        ),
    )
    assert running.phase == Phase.RUNNING
    assert told(running)["Running"] == ("True", "Tracing")
    assert running.nodes == NodeCounts(desired=2, running=1, waiting=1)
    assert (running.pods, running.completeness_percent) == (3, 90)
    at_deadline = judge(running, facts(31, Census(desired=2, answered=2, running=1, finished=1)))
    assert at_deadline.phase == Phase.RUNNING
    complete = judge(
        running,
        facts(32, Census(desired=2, answered=2, finished=2), events=Tally(20, 19, 1)),
    )
    assert complete.phase == Phase.COMPLETE
    assert told(complete) == {
        "Accepted": ("True", "Accepted"),
        "Running": ("False", "DeadlineReached"),
        "Degraded": ("False", "AsExpected"),
        "Complete": ("True", "DeadlineReached"),
    }
    assert (complete.pods, complete.nodes) == (3, NodeCounts(desired=2))
    assert complete.completion_time == "2026-01-01T00:00:32Z"
    assert (complete.events.matched, complete.completeness_percent) == (20, 95)
    steps = [NEW, pending, running, complete]
    assert [reasons(a, b) for a, b in itertools.pairwise(steps)] == [
        ["Accepted"],
        ["Started"],
        ["Complete"],
    ]


def test_what_is_over_never_changes_again() -> None:
    running = judge(NEW, facts(0, Census(desired=1, answered=1, running=1)))
    complete = judge(running, facts(31, Census(desired=1, answered=1, finished=1)))
    assert is_terminal(complete)
    later = facts(900, Census(desired=5), NotAccepted("InvalidParam", "x"), events=Tally(5, 5))
    assert judge(complete, later) is complete


def test_a_node_that_stays_silent_at_the_deadline_is_waited_for_ten_seconds() -> None:
    running = judge(NEW, facts(0, Census(desired=2, answered=2, running=2)))
    silent = Census(desired=2, answered=2, running=1, finished=1)
    assert judge(running, facts(39.9, silent)).phase == Phase.RUNNING
    assert judge(running, facts(40, silent)).phase == Phase.COMPLETE
    unreachable = Census(desired=2, answered=1, finished=1, unreachable=1)
    over = judge(running, facts(30, unreachable))
    assert (over.phase, told(over)["Degraded"]) == (Phase.COMPLETE, ("True", "NodesInTrouble"))


def test_an_operator_that_was_away_at_the_deadline_hears_the_nodes_first() -> None:
    running = judge(NEW, facts(0, Census(desired=1, answered=1, running=1)))
    back = START + 300
    unheard = facts(300, Census(desired=1), led_since=back)
    assert judge(running, unheard).phase == Phase.RUNNING
    heard = facts(304, Census(desired=1, answered=1, finished=1), led_since=back)
    assert judge(running, heard).phase == Phase.COMPLETE
    assert judge(running, facts(310, Census(desired=1), led_since=back)).phase == Phase.COMPLETE


def test_a_job_that_no_node_can_run_fails_so_that_nobody_waits() -> None:
    worst = Failure(node="node-a", reason="HookMissing", message="no tp_btf")
    census = Census(desired=3, answered=2, failed=1, unsupported=1)
    asked = facts(1, census, spec(), failures=(worst,))
    one_may_yet = judge(NEW, asked)
    assert one_may_yet.phase == Phase.PENDING
    assert reasons(NEW, one_may_yet) == ["Accepted", "NodeFailed"]
    none_can = Census(desired=3, answered=3, failed=1, unsupported=2)
    minute = {"failures": (worst,), "refused_since": START + 2}
    assert judge(one_may_yet, facts(61.9, none_can, spec(), **minute)).phase == Phase.PENDING
    failed = judge(one_may_yet, facts(62.1, none_can, spec(), **minute))
    assert failed.phase == Phase.FAILED
    assert told(failed)["Failed"] == ("True", "NoNodeCanRun")
    assert failed.conditions[-1].message == (
        "none of 3 nodes can run it; node-a: HookMissing: no tp_btf"
    )
    assert failed.nodes == NodeCounts(desired=3, failed=1, unsupported=2)
    assert is_terminal(failed)
    assert reasons(one_may_yet, failed) == ["Failed"]


def test_a_job_that_no_kernel_can_run_fails_at_once() -> None:
    none_can = Census(desired=2, answered=2, unsupported=2)
    failed = judge(NEW, facts(1, none_can, refused_since=START + 1))
    assert told(failed)["Failed"] == ("True", "NoNodeCanRun")


def test_a_job_for_which_no_node_has_the_labels_fails_after_a_minute() -> None:
    verdict = spec()
    pending = judge(NEW, facts(0, Census(), verdict))
    assert told(pending)["Running"] == ("False", "NoMatchingNode")
    left = START + 900  # its one node is replaced while it waits for a pod
    assert (
        judge(pending, facts(959, Census(), verdict, unclaimed_since=left)).phase == Phase.PENDING
    )
    failed = judge(pending, facts(960, Census(), verdict, unclaimed_since=left))
    assert told(failed)["Failed"] == ("True", "NoMatchingNode")
    ran = judge(pending, facts(5, Census(desired=1, answered=1, running=1), verdict))
    assert judge(ran, facts(999, Census(), verdict, unclaimed_since=left)).phase == Phase.RUNNING


def test_a_job_that_no_agent_ever_took_up_is_not_called_complete() -> None:
    pending = judge(NEW, facts(0, Census(desired=1)))
    failed = judge(pending, facts(40, Census(desired=1, unreachable=1)))
    assert told(failed)["Failed"] == ("True", "NoAgentAnswered")


def test_a_job_whose_pods_never_came_is_complete_with_nothing() -> None:
    pending = judge(NEW, facts(0, Census(desired=1, answered=1, waiting=1)))
    assert told(pending)["Running"] == ("False", "NoPodMatches")
    complete = judge(pending, facts(30, Census(desired=1, answered=1, finished=1)))
    assert (complete.phase, complete.completeness_percent) == (Phase.COMPLETE, None)


def test_resuming_starts_the_clock_anew_and_keeps_the_counts() -> None:
    census = Census(desired=1, answered=1, running=1)
    running = judge(NEW, facts(0, census, events=Tally(5, 5)))
    halted = judge(
        running,
        facts(
            10, Census(desired=1, answered=1, suspended=1), spec(suspend=True), events=Tally(5, 5)
        ),
    )
    assert (halted.phase, halted.start_time, halted.deadline) == (Phase.SUSPENDED, None, None)
    assert told(halted)["Running"] == ("False", "Suspended")
    resumed = judge(halted, facts(100, census, events=Tally(5, 5)))
    assert (resumed.start_time, resumed.deadline) == (
        "2026-01-01T00:01:40Z",
        "2026-01-01T00:02:10Z",
    )
    assert (resumed.phase, resumed.events.matched) == (Phase.RUNNING, 5)
    assert reasons(running, halted) == ["Suspended"]
    assert reasons(halted, resumed) == ["Resumed", "Started"]


def test_a_refused_job_is_judged_anew_when_it_is_edited() -> None:
    refused = judge(NEW, facts(0, Census(), NotAccepted("InvalidParam", "spec.x: must be 1")))
    assert refused.phase == Phase.FAILED
    assert told(refused) == {
        "Accepted": ("False", "InvalidParam"),
        "Running": ("False", "NotAccepted"),
        "Failed": ("True", "NotAccepted"),
    }
    assert not is_terminal(refused)
    assert reasons(NEW, refused) == ["NotAccepted"]
    mended = judge(refused, facts(5, Census(desired=1, answered=1, running=1), generation=2))
    assert (mended.phase, mended.start_time) == (Phase.RUNNING, "2026-01-01T00:00:05Z")
    assert told(mended)["Failed"] == ("False", "Accepted")
    assert reasons(refused, mended) == ["Accepted", "Started"]


def test_the_time_of_transition_moves_only_with_the_status() -> None:
    census = Census(desired=1, answered=1, running=1)
    first = judge(NEW, facts(0, census))
    again = judge(first, facts(9, census))
    assert again == first
    degraded = judge(again, facts(10, Census(desired=2, answered=1, running=1, unreachable=1)))
    moved = {c.type: c.last_transition_time[-3:-1] for c in degraded.conditions}
    assert moved == {"Accepted": "00", "Running": "00", "Degraded": "10"}


def test_counters_can_wait_but_phases_and_conditions_cannot() -> None:
    census = Census(desired=1, answered=1, running=1)
    first = judge(NEW, facts(0, census, events=Tally(1, 1)))
    assert is_urgent(NEW, first)
    counted = judge(first, facts(1, census, events=Tally(900, 900), pods=4))
    assert counted != first
    assert not is_urgent(first, counted)
    assert is_urgent(counted, judge(counted, facts(2, census, generation=2)))


def test_gaps_are_told_and_never_taken_back() -> None:
    census = Census(desired=1, answered=1, running=1)
    first = judge(NEW, facts(0, census))
    gap = judge(first, facts(1, census, gaps=2))
    assert reasons(first, gap) == ["Gap"]
    node_gone = judge(gap, facts(2, census, gaps=0))
    assert node_gone.gaps == 2


def test_unreachable_nodes_are_told_of_once() -> None:
    census = Census(desired=1, answered=1, running=1)
    first = judge(NEW, facts(0, census))
    away = Failure(node="node-a", reason="Unreachable", message="no agent")
    lost = judge(first, facts(1, Census(desired=1, unreachable=1), failures=(away,)))
    assert reasons(first, lost) == ["NodeUnreachable"]
    still = judge(lost, facts(2, Census(desired=1, unreachable=1), failures=(away,), pods=1))
    assert reasons(lost, still) == []


def test_a_patch_removes_what_no_longer_holds() -> None:
    running = judge(NEW, facts(0, Census(desired=1, answered=1, running=1)))
    halted = judge(running, facts(1, Census(desired=1), spec(suspend=True)))
    patch = to_patch(halted)
    assert (patch["startTime"], patch["deadline"], patch["phase"]) == (None, None, "Suspended")


@pytest.mark.parametrize("nodes", [1, 5000])
def test_a_status_is_of_fixed_size(nodes: int) -> None:
    failures = tuple(
        Failure(node=f"node-{n}", reason="R", message="m" * 1024) for n in range(min(5, nodes))
    )
    status = judge(
        NEW, facts(0, Census(desired=nodes + 1, answered=nodes, failed=nodes), failures=failures)
    )
    assert len(status.model_dump_json()) < 16_000
