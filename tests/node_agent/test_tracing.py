# SPDX-License-Identifier: Apache-2.0
"""Jobs, owners and rows together, with real programs in the real kernel.

The cgroups are the test's own; who owns them is what the test says.
"""

import os
import random
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.accounts import Accounts
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]


def test_every_open_of_a_container_is_delivered_with_its_owner(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("one")
    other = world.cgroup("two")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job())
    world.opens(cgroup, "/none/a-", 500)
    world.opens(other, "/none/a-", 500)

    assert world.total("a") == Totals(matched=500, delivered=500)
    rows = world.rows("a")
    assert [row["path"] for row in rows] == [f"/none/a-{i}" for i in range(500)]
    assert {(row["namespace"], row["pod"], row["container"], row["error"]) for row in rows} == {
        ("shop", f"pod-{cgroup.name}", "main", "ENOENT")
    }


def test_a_condition_may_name_the_api_server_of_the_node(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    jobs = [job("a"), job("b")]
    for each, address in zip(jobs, ("10.213.8.1", ""), strict=True):
        each.trackers[0].where = f'kubernetes_api == "{address}"'
    world.apply(*jobs)
    world.opens(cgroup, "/none/a-", 5)
    world.opens(cgroup, "/none/b-", 5)

    assert world.total("a") == Totals(matched=5, delivered=5)
    assert world.total("b") == Totals()


def test_a_job_waits_until_a_pod_matches(world: Any, job: Callable[..., agent_pb2.Job]) -> None:
    world.apply(job())
    assert world.tracing.tick().reports["a"].state == agent_pb2.JOB_STATE_WAITING
    assert not any(instance.attached for instance in world.tracing.tick().instances)

    cgroup = world.cgroup("late")
    world.tracing.meet(world.owner(cgroup, "pending"))
    assert all(instance.attached for instance in world.tracing.tick().instances)
    assert world.tracing.tick().reports["a"].state == agent_pb2.JOB_STATE_WAITING

    world.tracing.meet(world.owner(cgroup))
    report = world.tracing.tick().reports["a"]
    assert (report.state, report.pods) == (agent_pb2.JOB_STATE_RUNNING, 1)


def test_the_kernel_knows_containers_that_no_job_watches(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    """So that it can tell who is put into one from outside from who moves about in it."""
    cgroup = world.cgroup("other")
    whole = world.owner(cgroup)
    name = f"cri-containerd-{whole.container_id}.scope"
    world.apply(job())

    def entry() -> bytes | None:
        return world.programs.map("targets").lookup(struct.pack("=Q", whole.cgroup_id))

    world.tracing.meet(replace(whole, labels={}, namespace="quiet", path=f"/pods/{name}/inner"))
    assert entry() is None, "a container could make any number of those"
    world.tracing.meet(replace(whole, labels={}, namespace="quiet", path=f"/pods/{name}"))
    assert entry() == struct.pack("=QII", 0, 0, 1)
    world.tracing.gone(whole.cgroup_id)
    world.tracing.tick()
    assert entry() is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("container", Totals(matched=300, delivered=300)),
        ("sandbox", Totals()),
        ("unknown", Totals(unclassified=300)),
    ],
)
def test_rows_of_a_pending_cgroup_wait_until_it_is_known_whose_they_are(
    world: Any, job: Callable[..., agent_pb2.Job], kind: str, expected: Totals
) -> None:
    cgroup = world.cgroup("pending")
    world.apply(job())
    world.tracing.meet(world.owner(cgroup, "pending"))
    world.opens(cgroup, "/none/a-", 300)
    assert world.total("a") == Totals()
    assert world.rows("a") == []

    world.tracing.meet(world.owner(cgroup, kind))
    world.tracing.gone(cgroup.stat().st_ino)
    assert world.total("a") == world.total("a") == expected
    assert [row["path"] for row in world.rows("a")] == [
        f"/none/a-{number}" for number in range(expected.delivered)
    ]


def test_under_pressure_every_event_is_accounted_for(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("flood")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job(memory=65536, rate=20_000))
    world.opens(cgroup, "/none/a-", 60_000)
    totals = world.total("a")
    assert totals.matched == totals.settled == 60_000
    assert totals.limited > 0
    assert totals.lost_kernel > 0
    assert totals.delivered == len(world.rows("a")) > 0


@pytest.mark.parametrize(
    ("room", "rate", "lost", "limited"),
    [(120, 1000, 80, 0), (1000, 120, 0, 80), (120, 150, 30, 50)],
)
def test_what_a_sink_refuses_is_not_delivered(
    world: Any, job: Callable[..., agent_pb2.Job], room: int, rate: int, lost: int, limited: int
) -> None:
    world.room, world.rate = room, rate
    cgroup = world.cgroup("full")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job())
    world.opens(cgroup, "/none/a-", 200)
    expected = Totals(matched=200, delivered=120, lost_agent=lost, limited=limited)
    assert world.total("a") == expected


def test_what_raises_loses_rows_of_its_own_job_alone_and_tells_how_many(
    world: Any, job: Callable[..., agent_pb2.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a condition that nobody foresaw")

    known, late = world.cgroup("known"), world.cgroup("late")
    world.tracing.meet(world.owner(known))
    fine, sink, condition, metric = (job(uid, "/none/s-") for uid in "abcd")
    condition.trackers[0].where = 'path.endsWith("7")'
    monkeypatch.setattr("eunomia_agent.events.where.mask", fail)
    world.apply(fine, sink, condition)
    assert len(world.tracing.tick().instances) == 1
    world.sinks["b"][0].broken = True
    world.opens(known, "/none/s-", 50)
    world.tracing.meet(world.owner(late, "pending"))
    world.opens(late, "/none/s-", 30)
    world.tracing.tick()
    world.tracing.meet(world.owner(late))

    assert world.total("a") == Totals(matched=80, delivered=80)
    assert world.total("b") == world.total("c") == Totals(matched=80, lost_agent=80)

    monkeypatch.setattr(world.observed, "count", fail)
    world.apply(metric)
    world.opens(known, "/none/s-", 20)
    assert world.total("d") == Totals(matched=20, delivered=20)


def test_two_jobs_that_ask_for_the_same_share_one_instance_and_have_their_own_accounts(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("shared")
    world.tracing.meet(world.owner(cgroup))
    first, second = job("a", "/none/s-"), job("b", "/none/s-", rate=10)
    world.apply(first, second)
    assert len(world.tracing.tick().instances) == 1
    world.opens(cgroup, "/none/s-", 100)
    assert world.total("a") == Totals(matched=100, delivered=100)
    slow = world.total("b")
    assert slow.matched == slow.settled == 100
    assert slow.limited >= 80

    world.apply(second)
    world.opens(cgroup, "/none/s-", 100)
    assert len(world.rows("a")) == 100
    assert world.total("b").matched == 200


def test_a_changed_param_restarts_the_tracker_with_a_gap_and_keeps_the_count(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("param")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job(prefix="/none/x-"))
    world.opens(cgroup, "/none/x-", 10)
    world.apply(job(prefix="/none/y-"))
    world.opens(cgroup, "/none/x-", 10)
    world.opens(cgroup, "/none/y-", 5)
    assert world.total("a") == Totals(matched=15, delivered=15)
    assert world.tracing.tick().reports["a"].gaps == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": 2},
        {"deadline_ms": 4 * 10**12},
        {"interval_ms": 1000},
        {"target": agent_pb2.Target(pods=True, namespaces=["shop", "bakery"])},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_change_that_no_program_is_made_of_makes_no_gap(
    world: Any, job: Callable[..., agent_pb2.Job], fields: dict[str, Any]
) -> None:
    cgroup = world.cgroup("edit")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job())
    changed = job()
    changed.MergeFrom(agent_pb2.Job(**fields))
    world.apply(changed)
    world.opens(cgroup, "/none/a-", 10)
    assert world.total("a") == Totals(matched=10, delivered=10)
    assert (len(world.sinks["a"]), world.tracing.tick().reports["a"].gaps) == (1, 0)


def test_suspended_and_ended_jobs_leave_nothing_in_the_kernel(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("end")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job())
    world.opens(cgroup, "/none/a-", 10)
    world.apply(job(suspended=True))
    standing = world.tracing.tick()
    assert standing.instances == ()
    assert standing.reports["a"].state == agent_pb2.JOB_STATE_SUSPENDED
    world.opens(cgroup, "/none/a-", 10)

    deadline = int((time.time() + 60) * 1000)
    world.apply(job(deadline_ms=deadline))
    world.opens(cgroup, "/none/a-", 10)
    assert world.tracing.tick().next_deadline == deadline / 1000
    world.tracing.expire(deadline / 1000)
    standing = world.tracing.tick()
    assert standing.instances == ()
    assert not standing.running
    report = standing.reports["a"]
    assert (report.state, report.totals.delivered) == (agent_pb2.JOB_STATE_FINISHED, 20)


def test_a_job_that_goes_on_covers_the_pods_that_are_there(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("was")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job())
    world.apply(job(suspended=True))
    assert world.tracing.tick().reports["a"].pods == 1, "those it covered when it was halted"
    world.tracing.gone(cgroup.stat().st_ino)
    world.tracing.tick()
    world.apply(job())
    report = world.tracing.tick().reports["a"]
    assert (report.state, report.pods) == (agent_pb2.JOB_STATE_WAITING, 0)


def test_a_restarted_agent_counts_on_and_shows_the_gap(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("again")
    world.tracing.meet(world.owner(cgroup))
    before = JobTotals({"opensnoop": Totals(matched=7, delivered=6, limited=1)}, running=True)
    world.apply(job(), before={"a": before})
    world.opens(cgroup, "/none/a-", 3)
    assert world.total("a") == Totals(matched=10, delivered=9, limited=1)
    assert world.tracing.tick().reports["a"].gaps == 1


@pytest.mark.parametrize(
    ("name", "params", "state", "reason"),
    [
        ("nosuch", {}, agent_pb2.JOB_STATE_UNSUPPORTED, "there is no tracker 'nosuch'"),
        (
            "opensnoop",
            {"nosuch": agent_pb2.Param(text="x")},
            agent_pb2.JOB_STATE_FAILED,
            "is no param of opensnoop",
        ),
        (
            "opensnoop",
            {"prefix": agent_pb2.Param(integer=1)},
            agent_pb2.JOB_STATE_FAILED,
            "a string of at most 63 bytes",
        ),
    ],
)
def test_a_job_that_cannot_run_says_why_and_others_do_not_notice(
    world: Any,
    job: Callable[..., agent_pb2.Job],
    name: str,
    params: dict[str, agent_pb2.Param],
    state: agent_pb2.JobState,
    reason: str,
) -> None:
    cgroup = world.cgroup("bad")
    world.tracing.meet(world.owner(cgroup))
    bad = job("bad")
    bad.trackers[0].CopyFrom(agent_pb2.Tracker(name=name, params=params))
    world.apply(bad, job())
    report = world.tracing.tick().reports["bad"]
    assert report.state == state
    assert reason in report.message
    world.opens(cgroup, "/none/a-", 10)
    assert world.total("a") == Totals(matched=10, delivered=10)


@pytest.mark.parametrize("seed", range(4))
def test_the_identity_holds_whatever_happens(
    world: Any, job: Callable[..., agent_pb2.Job], seed: int
) -> None:
    chance = random.Random(seed)
    cgroups = [world.cgroup(f"r{i}") for i in range(4)]
    kinds = ["container", "container", "sandbox", "unknown"]
    for cgroup in cgroups:
        world.tracing.meet(world.owner(cgroup, "pending"))
    jobs: dict[str, agent_pb2.Job] = {}
    last: dict[str, Totals] = {}
    for _ in range(25):
        uid = chance.choice("abc")
        match chance.randrange(5):
            case 0:
                jobs[uid] = job(
                    uid,
                    "/none/p-",
                    memory=chance.choice([65536, 8 << 20]),
                    rate=chance.choice([500, 10**6]),
                    suspended=chance.random() < 0.3,
                )
                world.apply(*jobs.values())
            case 1:
                number = chance.randrange(4)
                world.tracing.meet(world.owner(cgroups[number], kinds[number]))
            case 2:
                standing = world.tracing.tick()
                for each in jobs:
                    now = sum(standing.totals[each].trackers.values(), Totals())
                    before = last.get(each, Totals())
                    assert now.matched >= before.matched
                    assert now.delivered >= before.delivered
                    last[each] = now
            case _:
                world.opens(chance.choice(cgroups), "/none/p-", chance.choice([10, 3000]))
    standing = world.end()
    for uid in jobs:
        totals = sum(standing.totals[uid].trackers.values(), Totals())
        assert totals.matched == totals.settled, uid
        assert totals.delivered == len(world.rows(uid)) if uid in world.sinks else True
        assert (
            not {row["pod"] for row in world.rows(uid)}
            & {f"pod-{cgroup.name}" for cgroup in cgroups[2:]}
            if uid in world.sinks
            else True
        )


def test_a_job_that_leaves_the_node_and_returns_begins_from_nothing(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("return")
    world.tracing.meet(world.owner(cgroup))
    before = {"a": JobTotals({"opensnoop": Totals(matched=100, delivered=100)})}
    world.apply(job(), before=before)
    world.opens(cgroup, "/none/a-", 50)
    assert world.total("a").delivered == 150
    world.apply(before=before)
    world.apply(job(), before=before)
    assert world.total("a") == Totals()


def test_a_slot_that_changes_hands_shows_no_job_the_rows_of_another(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("parent")
    child = cgroup / "child"
    world.tracing.meet(world.owner(cgroup))
    others = [job(f"o{number}", "/none/other-") for number in range(63)]
    world.apply(*others, job("x", "/none/s-"))
    child.mkdir()
    slot = world.tracing.jobs["x"].slot
    world.programs.map("targets").update(
        child.stat().st_ino.to_bytes(8, "little"), struct.pack("=QII", 1 << slot, 0, 1)
    )
    elsewhere = job("y", "/none/s-")
    elsewhere.target.namespaces[:] = ["elsewhere"]
    world.apply(*others)
    world.apply(*others, elsewhere)
    assert world.tracing.jobs["y"].slot == slot
    world.tracing.meet(world.owner(world.cgroup("near"), "pending"))
    world.opens(child, "/none/s-", 5)
    world.tracing.meet(replace(world.owner(cgroup), cgroup_id=child.stat().st_ino))
    assert world.total("y") == Totals()
    assert world.rows("y") == []
    child.rmdir()


def test_a_job_for_which_there_was_no_slot_is_tried_again(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    jobs = [job(f"j{number}", "/none/same-") for number in range(65)]
    world.apply(*jobs)
    standing = world.tracing.tick()
    assert standing.to_retry
    assert standing.reports["j64"].state == agent_pb2.JOB_STATE_FAILED
    assert "at most 64 jobs" in standing.reports["j64"].message
    world.apply(*jobs[1:])
    standing = world.tracing.tick()
    assert not standing.to_retry
    assert standing.reports["j64"].state == agent_pb2.JOB_STATE_WAITING


def test_a_job_gets_no_more_memory_than_the_node_has_left(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("memory")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job("big", memory=1 << 30), job())
    report = world.tracing.tick().reports["big"]
    assert (report.state, report.reason) == (agent_pb2.JOB_STATE_FAILED, "NoMemoryLeft")
    assert "lower spec.budget.memoryBytesPerNode" in report.message
    world.opens(cgroup, "/none/a-", 10)
    assert world.total("a") == Totals(matched=10, delivered=10)


def test_a_job_that_fails_while_it_starts_keeps_no_tracker_in_the_kernel(
    world: Any, job: Callable[..., agent_pb2.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KernelError("the map accounts cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr(Accounts, "clear", fail)
        world.apply(job())
    standing = world.tracing.tick()
    assert (standing.to_retry, standing.instances) == (True, ())
    assert standing.reports["a"].message == "the map accounts cannot be read"

    world.apply(job())
    assert len(world.tracing.tick().instances) == 1
    world.apply()
    assert world.tracing.tick().instances == ()


def test_a_job_that_nobody_foresaw_takes_no_other_with_it(
    world: Any, job: Callable[..., agent_pb2.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wanted is kept on the disk: an agent that ended by it would end at each start."""
    clear, odd = Accounts.clear, [RecursionError("maximum recursion depth exceeded")]

    def fail_once(accounts: Accounts, slot: int) -> None:
        if odd:
            raise odd.pop()
        clear(accounts, slot)

    monkeypatch.setattr(Accounts, "clear", fail_once)
    world.apply(job("odd"), job("even"))
    reports = world.tracing.tick().reports
    assert (reports["odd"].state, reports["odd"].reason) == (
        agent_pb2.JOB_STATE_FAILED,
        "TrackerFailed",
    )
    assert "maximum recursion depth" in reports["odd"].message
    assert (reports["even"].state, reports["even"].reason) == (
        agent_pb2.JOB_STATE_WAITING,
        "NoPodMatches",
    )
