# SPDX-License-Identifier: Apache-2.0
"""The control loop, pass by pass: objects and reports in, desired states and statuses out."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest

from eunomia_api import agent_pb2
from eunomia_operator import control
from eunomia_operator.objects import policy
from eunomia_operator.objects.world import Kind

BEGIN = 1767225600.0
RUNNING = agent_pb2.JOB_STATE_RUNNING
FINISHED = agent_pb2.JOB_STATE_FINISHED


async def test_a_job_is_told_to_its_nodes_and_its_end_too(story: Any) -> None:
    story.job("opens", target={"podSelector": {}, "nodeSelector": {"pool": "web"}}, duration="10s")
    await story.look()
    assert (story.names("node-a"), story.names("node-b")) == (["opens"], [])
    assert story.jobs("node-a")[0].deadline_ms == int((BEGIN + 10) * 1000)
    assert story.streams.pushed == [{"node-a", "node-b"}]
    story.report("node-a", "opens", 5)
    await story.look(1)
    assert story.status("opens")["phase"] == "Running"
    story.report("node-a", "opens", 9, state=FINISHED)
    await story.look(9)
    assert story.status("opens")["phase"] == "Complete"
    assert story.status("opens")["events"]["delivered"] == 9
    assert story.names("node-a") == []
    assert story.streams.pushed[1:] == [{"node-a"}]
    assert story.news == [("opens", "Accepted"), ("opens", "Started"), ("opens", "Complete")]


async def test_counters_are_written_every_five_seconds_and_phases_at_once(story: Any) -> None:
    story.job("opens")
    await story.look()
    story.report("node-a", "opens", 1)
    await story.look(0.1)
    for second in range(1, 13):
        story.report("node-a", "opens", second * 10)
        await story.look(1)
    phases = [phase for _, phase in story.store.writes]
    # The first counts do not wait for it that the phase was written just before.
    assert phases == ["Pending", "Running", *(3 * ["Running"])]
    assert story.status("opens")["events"]["delivered"] == 110


async def test_nothing_is_written_while_nothing_changes(story: Any) -> None:
    story.job("opens")
    await story.look()
    story.report("node-a", "opens", 1)
    story.report("node-b", "opens", 1)
    for _ in range(30):
        await story.look(5)
    assert len(story.store.writes) == 2


async def test_a_bad_job_is_refused_and_the_others_do_not_notice(story: Any) -> None:
    story.job("bad", trackers=[{"name": "nosuch"}])
    story.job("good")
    await story.look()
    assert story.names("node-a") == ["good"]
    accepted = story.status("bad")["conditions"][0]
    assert (accepted["type"], accepted["status"], accepted["reason"]) == (
        "Accepted",
        "False",
        "InvalidTracker",
    )
    story.job("bad", "MODIFIED", generation=2)
    await story.look(1)
    assert sorted(story.names("node-a")) == ["bad", "good"]
    assert story.status("bad")["phase"] == "Pending"


@pytest.fixture
def _slow_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy takes half of what a pass may take, by a clock that nothing else moves."""
    judged = policy.accept_policy
    passed = SimpleNamespace(now=0.0)

    def slow(*asked: Any) -> Any:
        passed.now += 0.1
        return judged(*asked)

    monkeypatch.setattr(policy, "accept_policy", slow)
    still = SimpleNamespace(monotonic=lambda: passed.now, time=time.time)
    monkeypatch.setattr(control, "time", still)
    monkeypatch.setattr(control, "SLICE_SECONDS", 0.15)
    monkeypatch.setattr(control, "REST_SECONDS", 0.001)


@pytest.mark.usefixtures("_slow_to_judge")
async def test_policies_that_take_long_to_judge_stop_nothing_else(story: Any) -> None:
    for number in range(8):
        story.policy(f"slow{number}")
    story.job("opens", namespace="till")
    story.policy("theirs", namespace="till")
    await story.look()
    first = story.names("node-a")
    assert "opens" in first
    assert len(first) < 6
    for _ in range(3):
        await story.look()
    assert "theirs" in story.names("node-a")
    assert len(story.names("node-a")) < 10
    for _ in range(8):
        await story.look()
    assert len(story.names("node-a")) == 10


@pytest.mark.usefixtures("_slow_to_judge")
async def test_a_new_leader_tells_nothing_before_all_is_judged(story: Any) -> None:
    for number in range(8):
        story.policy(f"slow{number}")
    renewed = 0

    async def renew() -> None:
        nonlocal renewed
        while True:
            renewed += 1
            await asyncio.sleep(0)

    lease = asyncio.create_task(renew())
    await story.control.take_up()
    lease.cancel()
    assert renewed > 4
    await story.look()
    assert len(story.names("node-a")) == 8


async def test_an_edit_that_is_refused_ends_the_job_on_the_nodes(story: Any) -> None:
    story.job("opens")
    await story.look()
    story.report("node-a", "opens", 7)
    await story.look(1)
    edited = [{"name": "process", "params": {"maxArgs": -1}}]
    story.job("opens", "MODIFIED", generation=2, trackers=edited)
    await story.look(1)
    assert story.names("node-a") == []
    status = story.status("opens")
    assert (status["phase"], status["events"]["delivered"]) == ("Failed", 7)


async def test_suspend_is_told_and_resume_starts_the_clock_anew(story: Any) -> None:
    story.job("opens", duration="60s")
    await story.look()
    story.job("opens", "MODIFIED", generation=2, duration="60s", suspend=True)
    await story.look(30)
    assert [job.suspended for job in story.jobs("node-a")] == [True]
    assert story.status("opens")["phase"] == "Suspended"
    story.job("opens", "MODIFIED", generation=3, duration="60s")
    await story.look(600)
    (job,) = story.jobs("node-a")
    assert (job.suspended, job.deadline_ms) == (False, int((BEGIN + 690) * 1000))


async def test_jobs_in_a_namespace_that_ends_are_over(story: Any) -> None:
    story.namespace("shop")
    story.job("opens")
    await story.look()
    assert story.names("node-a") == ["opens"]
    story.namespace("shop", deletionTimestamp="2026-01-01T00:00:00Z")
    await story.look(1)
    assert story.names("node-a") == []


async def test_a_deleted_job_is_forgotten(story: Any) -> None:
    story.job("opens")
    await story.look()
    story.job("opens", "DELETED")
    await story.look(1)
    assert story.names("node-a") == []
    story.report("node-a", "opens", 5)
    await story.look(60)
    assert [name for name, _ in story.store.writes] == ["opens"]


async def test_a_job_made_anew_under_its_name_is_another_job(story: Any) -> None:
    story.job("opens")
    await story.look()
    story.report("node-a", "opens", 5)
    metadata = {"name": "opens", "namespace": "shop", "uid": "another", "generation": 1}
    spec = {"target": {"podSelector": {}}, "trackers": [{"name": "process"}]}
    body = {"metadata": metadata, "spec": spec}
    story.control.world.see(Kind.TRACE_JOBS, "MODIFIED", body)
    await story.look(1)
    assert [job.uid for job in story.jobs("node-a")] == ["another"]
    assert story.status("opens")["events"]["delivered"] == 0


async def test_a_node_without_an_agent_is_unreachable_after_a_while(story: Any) -> None:
    story.job("opens")
    story.streams.nodes = ["node-a"]
    await story.look()
    story.report("node-a", "opens", 5)
    await story.look(29)
    assert story.status("opens")["nodes"]["unreachable"] == 0
    await story.look(2)
    status = story.status("opens")
    assert (status["nodes"]["unreachable"], status["failures"][0]["node"]) == (1, "node-b")
    assert ("opens", "NodeUnreachable") in story.news
    story.streams.nodes = ["node-a", "node-b"]
    await story.look(1)
    assert story.status("opens")["nodes"]["unreachable"] == 0


async def test_a_new_leader_lowers_nothing_and_counts_nothing_twice(story: Any) -> None:
    story.job("opens")
    await story.look()
    story.report("node-a", "opens", 100)
    story.report("node-b", "opens", 50)
    await story.look(6)
    story.lead()
    story.node("node-a", pool="web")
    story.job("opens")
    await story.look(20)
    assert story.status("opens")["events"]["delivered"] == 150
    story.report("node-a", "opens", 120)
    await story.look(6)
    status = story.status("opens")
    assert status["phase"] == "Running"
    assert (status["events"]["delivered"], status["retired"]["delivered"]) == (150, 30)
    story.report("node-a", "opens", 130)
    await story.look(6)
    assert story.status("opens")["events"]["delivered"] == 160


async def test_a_node_made_anew_under_its_name_is_another_node(story: Any) -> None:
    story.job("opens")
    await story.look()
    story.report("node-a", "opens", 100)
    await story.look(6)
    story.node("node-a", "MODIFIED", uid="another", pool="web")
    await story.look(6)
    story.report("node-a", "opens", 1)
    await story.look(6)
    assert story.status("opens")["events"]["delivered"] == 101


async def test_reports_of_jobs_that_are_not_the_nodes_are_passed_over(story: Any) -> None:
    story.job("opens", target={"podSelector": {}, "nodeSelector": {"pool": "web"}})
    await story.look()
    story.report("node-b", "opens", 1000)
    story.report("node-a", "no-such-job", 1000)
    story.report("node-a", "opens", 1 << 62)
    story.report("node-a", "opens", 3)
    await story.look(6)
    assert story.status("opens")["events"]["delivered"] == 3
    assert b"eunomia_operator_bad_reports_total 1.0" in generate_latest(story.metrics.registry)


async def test_an_api_server_that_is_away_is_written_to_when_it_is_back(story: Any) -> None:
    story.store.away = True
    story.job("opens")
    for _ in range(20):
        await story.look(1)
    assert story.names("node-a") == ["opens"]
    story.store.away = False
    await story.look(30)
    assert story.status("opens")["phase"] == "Pending"


async def test_a_job_that_is_over_is_deleted_after_its_time(story: Any) -> None:
    story.job("opens", duration="1s", ttlSecondsAfterFinished=60)
    await story.look()
    story.report("node-a", "opens", 1, state=FINISHED)
    story.report("node-b", "opens", 1, state=FINISHED)
    await story.look(2)
    assert story.status("opens")["phase"] == "Complete"
    await story.look(59)
    assert story.store.deleted == []
    await story.look(1)
    await story.look(1)
    assert story.store.deleted == ["opens"]


async def test_a_new_leader_leaves_a_job_that_is_over_alone(story: Any) -> None:
    story.job("opens", duration="1s")
    await story.look()
    story.report("node-a", "opens", 1, state=FINISHED)
    story.report("node-b", "opens", 1, state=FINISHED)
    await story.look(2)
    writes = len(story.store.writes)
    story.lead()
    story.node("node-a")
    story.job("opens", duration="1s")
    for _ in range(5):
        await story.look(10)
    assert (len(story.store.writes), story.news, story.names("node-a")) == (writes, [], [])


async def test_a_new_node_is_told_even_that_there_is_nothing_to_do(story: Any) -> None:
    await story.look()
    story.node("node-c")
    await story.look(1)
    assert story.streams.pushed == [{"node-a", "node-b"}, {"node-c"}]
    assert (story.control.desired_state("node-x"), story.names("node-c")) == (None, [])


async def test_phases_are_counted(story: Any) -> None:
    story.job("one")
    story.job("two", trackers=[])
    await story.look()
    text = generate_latest(story.metrics.registry).decode()
    assert 'eunomia_operator_jobs{phase="Pending"} 1.0' in text
    assert 'eunomia_operator_jobs{phase="Failed"} 1.0' in text


async def test_a_job_for_which_no_node_has_a_place_waits_and_says_so(story: Any) -> None:
    for number in range(64):
        story.job(f"old-{number:02}")
    story.job("young")
    await story.look()
    await story.look(1)

    assert len(story.jobs("node-a")) == 64
    assert "young" not in {job.name for job in story.jobs("node-a")}
    status = story.store.statuses["young"]
    running = next(each for each in status["conditions"] if each["type"] == "Running")
    assert (status["phase"], running["reason"]) == ("Pending", "TooManyJobs")
    assert status["nodes"]["failed"] == 2
    assert [(each["node"], each["reason"]) for each in status["failures"]] == [
        ("node-a", "TooManyJobs"),
        ("node-b", "TooManyJobs"),
    ]

    await story.look(300)
    assert story.store.statuses["young"]["phase"] == "Pending"
    story.job("old-07", "DELETED")
    await story.look(1)
    assert "young" in {job.name for job in story.jobs("node-a")}
    story.report("node-a", "young", 5)
    await story.look(10)
    status = story.store.statuses["young"]
    assert (status["phase"], status["nodes"]["failed"]) == ("Running", 0)


async def test_a_job_that_has_to_leave_keeps_what_it_counted(story: Any) -> None:
    for number in range(64):
        story.job(f"old-{number:02}")
    await story.look()
    story.report("node-a", "old-63", 7)
    await story.look(6)

    metadata = {"name": "late", "namespace": "bank", "uid": "uid-late", "generation": 1}
    spec = {"target": {"podSelector": {}}, "trackers": [{"name": "process"}]}
    story.control.world.see(Kind.TRACE_JOBS, "ADDED", {"metadata": metadata, "spec": spec})
    await story.look(1)
    told = {job.name for job in story.jobs("node-a")}
    assert ("late" in told, "old-63" in told) == (True, False)
    story.report("node-a", "old-63", 9)  # on its way when it was told to end
    await story.look(6)
    status = story.store.statuses["old-63"]
    assert status["events"]["delivered"] == 7
    assert status["failures"][0]["reason"] == "TooManyJobs"
