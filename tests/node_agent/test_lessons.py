# SPDX-License-Identifier: Apache-2.0
"""Learning begins with the first job that asks for it, and what was learned outlives them all."""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.syscalls import NATIVE
from eunomia_agent.jobs import lessons as lessons_module
from eunomia_agent.jobs.lessons import Lessons
from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.learning.learner import Learner, Wanted
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_agent.trackers.loading import Node
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
LEARNING = agent_pb2.Learning(seccomp=True)
BARRED = {"openat"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons_module, "REPORT_SECONDS", 0.0)


@pytest.fixture
def learning(world: Any) -> Callable[..., Lessons]:
    """Begin anew as an agent does that learned something before."""

    def begin(saved: Any = None) -> Lessons:
        node = Node(world.programs.map("targets"), root=world.root)
        lessons = Lessons(lambda: Learner(OBJECTS, saved), lambda: node)
        world.tracing.end()
        world.begin(lessons=lessons)
        return lessons

    return begin


def learned(world: Any, uid: str) -> dict[str, tuple[int, int, set[str]]]:
    """By container: runs, whole runs, names of the calls."""
    world.tracing.tick()
    report = world.tracing.tick().reports[uid]
    return {
        each.container: (each.runs, each.whole_runs, {call.name for call in each.calls})
        for each in report.policy.learned
    }


def test_what_a_container_calls_is_learned_and_is_there_for_the_next_agent(
    world: Any, learning: Callable[..., Lessons], job: Callable[..., agent_pb2.Job]
) -> None:
    learning()
    policy = job("p", learning=LEARNING)
    del policy.trackers[:]
    world.apply(policy, job("t", "/none/"))
    cgroup = world.cgroup("learned")
    world.tracing.meet(world.owner(cgroup))
    world.opens(cgroup, "/none/a-", 3)

    runs, _, calls = learned(world, "p")["main"]
    assert runs == 1
    assert {"openat", "execve", "exit_group"} <= calls
    assert "mount" not in calls
    assert not world.tracing.tick().reports["t"].HasField("policy")

    saved = world.end().learned
    learning(saved)
    world.tracing.meet(world.owner(cgroup))
    world.apply(policy)
    assert learned(world, "p")["main"] == (runs, 0, calls)


def test_a_profile_that_comes_later_is_audited_without_a_restart(
    world: Any, learning: Callable[..., Lessons], job: Callable[..., agent_pb2.Job]
) -> None:
    learning()
    policy = job("p", learning=LEARNING)
    del policy.trackers[:]
    world.apply(policy)
    cgroup = world.cgroup("audited")
    world.tracing.meet(world.owner(cgroup))
    world.opens(cgroup, "/none/a-", 1)
    _, _, calls = learned(world, "p")["main"]
    allowed = agent_pb2.AuditedProfile(container="main", syscalls=sorted(calls - {"openat"}))
    audited = agent_pb2.Job.FromString(policy.SerializeToString())
    audited.learning.audited.append(allowed)
    world.apply(audited)
    world.opens(cgroup, "/none/a-", 2)
    world.tracing.tick()
    (report,) = world.tracing.tick().reports["p"].policy.learned
    refused = {each.call: each.enforced for each in report.refusals}
    assert refused == {"openat": False}


def test_what_a_profile_would_refuse_is_an_alert_of_a_policy_without_any_rule(
    guarded: Any, job: Callable[..., agent_pb2.Job], box: Any
) -> None:
    world = guarded
    node = Node(world.programs.map("targets"), root=world.root)
    world.tracing.end()
    world.begin(lessons=Lessons(lambda: Learner(OBJECTS), lambda: node))
    allowed = agent_pb2.AuditedProfile(
        container="main", syscalls=sorted({*NATIVE.values()} - BARRED)
    )
    policy = job("p", learning=agent_pb2.Learning(seccomp=True, audited=[allowed]))
    del policy.trackers[:]
    world.apply(policy)
    cgroup = world.cgroup("refused")
    world.tracing.meet(world.owner(cgroup))
    world.opens(cgroup, "/none/a-", 5)
    for _ in range(3):
        world.tracing.tick()

    (alert,) = box.alerts
    assert (alert.rule, alert.policy_uid, alert.dry_run) == ("call-refused", "p", True)
    assert (alert.pod, alert.count >= 1, bool(alert.pid)) == (f"pod-{cgroup.name}", True, True)
    assert world.tracing.tick().reports["p"].policy.warnings == 1
    world.opens(cgroup, "/none/b-", 5)
    world.apply()  # it goes: what came since then is no news
    assert len(box.alerts) == 1


def test_what_was_learned_for_a_policy_that_is_gone_is_dropped(
    world: Any, learning: Callable[..., Lessons], job: Callable[..., agent_pb2.Job], tmp_path: Path
) -> None:
    learning()
    cgroup = world.cgroup("gone")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job("old", learning=LEARNING))
    world.opens(cgroup, "/none/a-", 3)
    assert learned(world, "old")
    saved = world.end().learned

    lessons = learning(saved)
    world.tracing.meet(world.owner(cgroup))
    world.apply(job("new", learning=LEARNING))
    world.tracing.tick()
    world.tracing.tick()
    assert {book["job"] for book in (lessons.saved or {})["books"]} == {"new"}


PATH = "eunomia/shop/guard-main.json"


def test_pods_are_counted_by_what_their_containers_wear_and_never_by_their_labels(
    world: Any, learning: Callable[..., Lessons], job: Callable[..., agent_pb2.Job]
) -> None:
    learning()
    profiles = [agent_pb2.WornProfile(container="main", path=PATH)]
    policy = job("p", learning=agent_pb2.Learning(seccomp=True, profiles=profiles))
    del policy.trackers[:]
    world.apply(policy)
    label = {"eunomia.dev/seccomp-profile": "guard-main"}
    bound, bare = world.owner(world.cgroup("bound")), world.owner(world.cgroup("bare"), **label)
    world.tracing.meet(bound)
    world.tracing.meet(bare)

    def told() -> tuple[int, int, int] | None:
        report = world.tracing.tick().reports["p"]
        said = report.policy
        if not said.HasField("bound_pods"):
            return None
        return report.pods, said.bound_pods, said.unprotected_pods

    assert told() is None
    assert world.tracing.tick().unasked == {bound.container_id, bare.container_id}
    world.tracing.wear({bound.container_id: Confinement(PATH)})
    assert told() is None, "half of it says nothing of the whole"
    world.tracing.wear({bare.container_id: Confinement()})
    assert told() == (2, 1, 1)
    standing = world.tracing.tick()
    assert (standing.worn, standing.unasked, standing.learns) == ({PATH}, set(), True)
    world.tracing.gone(bound.cgroup_id)
    world.tracing.tick()
    assert told() == (1, 0, 1)
    assert world.tracing.tick().worn == set()
    world.apply(job("t", "/none/"))
    assert not world.tracing.tick().learns


def test_an_agent_that_starts_anew_remembers_what_each_of_its_policies_learned(
    world: Any, learning: Callable[..., Lessons], job: Callable[..., agent_pb2.Job]
) -> None:
    learning()
    policies = [job(uid, learning=LEARNING) for uid in ("a", "b")]
    world.apply(*policies)
    cgroup = world.cgroup("both")
    world.tracing.meet(world.owner(cgroup))
    world.opens(cgroup, "/none/a-", 1)
    before = {uid: learned(world, uid)["main"] for uid in ("a", "b")}

    learning(world.end().learned)
    world.apply(*policies)
    assert {uid: learned(world, uid)["main"] for uid in ("a", "b")} == before


class Refusing(Learner):
    """One for which the kernel has no room left."""

    def meet(self, owner: Owner, uids: Collection[str]) -> None:
        raise KernelError(f"map runs: cannot be written: {owner.cgroup_id}, {len(uids)}")


def test_what_cannot_be_learned_keeps_no_container_from_being_known(
    world: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    node = Node(world.programs.map("targets"), root=world.root)
    world.begin(lessons=Lessons(lambda: Refusing(OBJECTS), lambda: node))
    world.apply(job("p", "/none/", learning=LEARNING))
    cgroup = world.cgroup("hostile")
    world.tracing.meet(world.owner(cgroup, "pending"))
    world.opens(cgroup, "/none/a-", 3)
    world.tracing.meet(world.owner(cgroup))

    assert world.total("p").delivered == 3
    world.apply(job("p", "/none/", learning=LEARNING, target=agent_pb2.Target(everything=True)))
    degraded = world.tracing.tick().reports["p"].degraded
    assert degraded.startswith("not all was learned: map runs")


def test_an_edit_of_rules_interrupts_no_run(world: Any, job: Callable[..., agent_pb2.Job]) -> None:
    told: list[set[str]] = []

    class Told(Learner):
        def apply(self, wanted: Mapping[str, Wanted]) -> None:
            told.append({*wanted})
            super().apply(wanted)

    node = Node(world.programs.map("targets"), root=world.root)
    world.begin(lessons=Lessons(lambda: Told(OBJECTS), lambda: node))
    world.apply(job("p", learning=LEARNING), job("other", learning=LEARNING))
    cgroup = world.cgroup("edited")
    world.tracing.meet(world.owner(cgroup))
    world.opens(cgroup, "/none/p-", 1)
    _, _, before = learned(world, "p")["main"]

    world.apply(job("p", learning=LEARNING, dry_run=True), job("other", learning=LEARNING))
    assert world.tracing.jobs["p"].gaps == 1
    world.opens(cgroup, "/none/p-", 2)
    assert learned(world, "p")["main"] == (1, 0, before)
    assert world.total("p").delivered == 3
    assert all("p" in each for each in told)


def test_what_was_called_just_before_the_end_is_kept(
    world: Any,
    learning: Callable[..., Lessons],
    job: Callable[..., agent_pb2.Job],
) -> None:
    lessons = learning()
    world.apply(job("p", learning=LEARNING))
    cgroup = world.cgroup("late")
    world.tracing.meet(world.owner(cgroup))
    world.tracing.tick()
    world.opens(cgroup, "/none/p-", 1)
    world.apply(job("p", learning=LEARNING, suspended=True))
    assert lessons.saved is not None
    (run,) = lessons.saved["runs"].values()
    assert int(run["called"][0], 16)
