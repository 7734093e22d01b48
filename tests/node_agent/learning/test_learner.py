# SPDX-License-Identifier: Apache-2.0
"""Runs of containers, added up: real processes in cgroups of their own."""

import ctypes
import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.targets import Targets
from eunomia_agent.events.syscalls import NATIVE
from eunomia_agent.kernel.object import Object
from eunomia_agent.learning import learner as learner_module
from eunomia_agent.learning import recording
from eunomia_agent.learning.learner import Learner, Wanted
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_api import agent_pb2

pytestmark = pytest.mark.bpf

NUMBER = {name: number for number, name in NATIVE.items()}
libc = ctypes.CDLL(None, use_errno=True)
LEARN = agent_pb2.Learning(seccomp=True)


class Node:
    """The agent-wide programs, and cgroups with processes in them."""

    def __init__(
        self, make_cgroup: Callable[..., Path], programs: Object, stack: ExitStack
    ) -> None:
        self._make_cgroup = make_cgroup
        self.programs = programs
        self.now = 1000.0
        self._stack = stack
        names = ("targets", "pending_limit", "pending_count")
        self.targets = Targets(*(programs.map(name) for name in names))

    def learner(self, before: dict[str, Any] | None = None, **wanted: Wanted) -> Learner:
        learner = Learner(OBJECTS, before, clock=lambda: self.now)
        learner.open(self.programs.map("targets"), 0, by_command=True)
        self._stack.callback(learner.close)
        learner.apply(wanted)
        self.targets.set_candidates(3)
        return learner

    def cgroup(self, name: str) -> Path:
        return self._make_cgroup(name)

    def owner(self, cgroup: Path, container: str = "web") -> Owner:
        identity = f"{cgroup.stat().st_ino:064x}"
        return Owner(
            cgroup.stat().st_ino,
            "container",
            "shop",
            f"pod-{cgroup.name[-1]}",
            "uid",
            container,
            identity,
            image="nginx:1",
        )

    def meet(self, learner: Learner, cgroup: Path, *uids: str, container: str = "web") -> None:
        owner = self.owner(cgroup, container)
        self.targets.set(owner.cgroup_id, 3 if uids else 0, inherit=True)
        learner.meet(owner, uids)

    def leave(self, learner: Learner, cgroup: Path) -> None:
        cgroup_id = cgroup.stat().st_ino
        cgroup.rmdir()
        self.targets.delete(cgroup_id)
        learner.gone(cgroup_id)


REFUSING = """
import ctypes, struct
l = ctypes.CDLL(None)
lines = struct.pack("<HBBI", 0x20, 0, 0, 0) + struct.pack("<HBBI", 0x15, 0, 1, {number})
lines += struct.pack("<HBBI", 6, 0, 0, 0x50001) + struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
code = ctypes.create_string_buffer(lines, 32)
l.prctl(38, 1, 0, 0, 0)
l.syscall({seccomp}, 1, 0, struct.pack("@HxxxxxxQ", 4, ctypes.addressof(code)))
"""
"""Puts a filter on that refuses one call."""


def run(cgroup: Path, *names: str, filtered: bool = False, refused: str = "") -> None:
    """Do some calls in a process that is put into a cgroup, and then execs itself."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        if filtered:
            everything = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
            code = ctypes.create_string_buffer(everything, 8)
            program = struct.pack("@HxxxxxxQ", 1, ctypes.addressof(code))
            libc.prctl(38, 1, 0, 0, 0)
            libc.syscall(NUMBER["seccomp"], 1, 0, program)
        calls = "".join(f"l.syscall({NUMBER[name]}, -1, 0, 0, 0);" for name in names)
        script = f"import ctypes; l = ctypes.CDLL(None); {calls}"
        if refused:
            number, seccomp = NUMBER[refused], NUMBER["seccomp"]
            script = REFUSING.format(number=number, seccomp=seccomp) + calls
        os.execv("/usr/bin/python3", ["python3", "-S", "-E", "-c", script])
    (cgroup / "cgroup.procs").write_text(str(pid))
    os.write(go, b"x")
    os.close(go)
    os.close(ready)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def node(make_cgroup: Callable[..., Path]) -> Iterator[Node]:
    if os.geteuid() != 0:
        pytest.skip("needs root to load BPF programs")
    with ExitStack() as stack:
        programs = stack.enter_context(Object.open(OBJECTS / "cgroups.bpf.o"))
        programs.load()
        programs.attach()
        yield Node(make_cgroup, programs, stack)


def counts(calls: Any) -> dict[str, int]:
    return {call.name: call.runs for call in calls}


def one(learner: Learner, uid: str = "a") -> agent_pb2.Learned:
    learner.tick()
    [found] = learner.report(uid)
    return found


Made = Callable[..., Learner]


def test_each_run_of_a_container_counts_a_call_once_restarts_and_replicas_alike(
    node: Node,
) -> None:
    learner = node.learner(a=Wanted(1, LEARN))
    for name, calls in {"1": ["flock"], "2": ["flock", "acct"], "3": []}.items():
        cgroup = node.cgroup(name)
        run(cgroup, *calls, *calls)  # before anybody knows whose it is
        node.meet(learner, cgroup, "a")
        if name != "3":
            node.leave(learner, cgroup)
    found = one(learner)
    calls = counts(found.calls)

    assert (found.container, found.runs, found.whole_runs) == ("web", 3, 3)
    assert (calls["flock"], calls["acct"], calls["exit_group"]) == (2, 1, 3)
    assert counts(found.runtime_calls)["execve"] == 3
    assert found.base == "Unconfined"
    assert (found.image, list(found.pods)) == ("nginx:1", ["pod-1", "pod-2", "pod-3"])
    assert found.architecture.startswith("SCMP_ARCH_")
    assert learner.problem is None


def test_a_container_that_ran_already_says_that_its_start_was_not_seen(node: Node) -> None:
    cgroup = node.cgroup("1")
    learner = node.learner(a=Wanted(1, LEARN))
    node.meet(learner, cgroup, "a")
    run(cgroup, "acct")

    found = one(learner)

    assert (found.runs, found.whole_runs) == (1, 0)
    assert counts(found.calls)["acct"] == 1


def test_a_container_that_is_made_and_never_starts_is_no_run(node: Node) -> None:
    learner = node.learner(a=Wanted(1, LEARN))
    cgroup = node.cgroup("1")
    node.meet(learner, cgroup, "a")
    node.leave(learner, cgroup)

    assert (one(learner).runs, list(one(learner).calls)) == (0, [])


def test_containers_of_other_names_and_jobs_are_kept_apart(node: Node) -> None:
    learner = node.learner(a=Wanted(1, LEARN), b=Wanted(2, LEARN))
    for name, container, uids in (("1", "web", "a"), ("2", "log", "ab"), ("3", "other", "")):
        cgroup = node.cgroup(name)
        run(cgroup, "acct")
        node.meet(learner, cgroup, *uids, container=container)
    learner.tick()

    assert [each.container for each in learner.report("a")] == ["log", "web"]
    assert [each.container for each in learner.report("b")] == ["log"]
    learner.forget("a")
    assert learner.report("a") == []


def test_when_something_was_new_last_is_told(node: Node) -> None:
    learner = node.learner(a=Wanted(1, LEARN))
    cgroup = node.cgroup("1")
    node.meet(learner, cgroup, "a")
    run(cgroup, "flock")
    node.now = 1010.0
    learner.tick()
    node.now = 1020.0
    run(cgroup, "flock")
    quiet = one(learner)
    node.now = 1030.0
    run(cgroup, "acct")
    later = one(learner)

    assert (quiet.since_ms, quiet.last_new_ms) == (1_000_000, 1_010_000)
    assert later.last_new_ms == 1_030_000


def test_an_agent_that_starts_anew_goes_on_with_the_same_run(node: Node) -> None:
    first = node.learner(a=Wanted(1, LEARN))
    gone, stays = node.cgroup("1"), node.cgroup("2")
    for cgroup in (gone, stays):
        run(cgroup, "flock")
        node.meet(first, cgroup, "a")
    node.leave(first, gone)
    first.tick()
    saved = json.loads(json.dumps(first.saved()))
    before = one(first)
    first.close()

    second = node.learner(saved, a=Wanted(1, LEARN))
    assert (before.runs, before.whole_runs) == (2, 2)
    before.whole_runs = 1  # whether the other one ended meanwhile, and what it did, nobody saw
    assert second.report("a") == [before]
    node.meet(second, stays, "a")
    run(stays, "acct")
    found = one(second)

    assert (found.runs, found.whole_runs) == (2, 1)  # part of the second one was not seen
    assert (counts(found.calls)["flock"], counts(found.calls)["acct"]) == (2, 1)
    assert found.since_ms == before.since_ms


def test_a_job_that_pauses_does_not_count_a_container_twice(node: Node) -> None:
    learner = node.learner(a=Wanted(1, LEARN))
    cgroup = node.cgroup("1")
    run(cgroup, "flock")
    node.meet(learner, cgroup, "a")
    learner.apply({})
    learner.apply({"a": Wanted(1, LEARN)})
    node.meet(learner, cgroup, "a")
    run(cgroup, "acct")

    found = one(learner)

    assert found.runs == 1
    assert {"flock", "acct"} <= counts(found.calls).keys()


@pytest.mark.parametrize(
    "saved",
    [{"runs": [], "books": []}, {"books": [{"job": "a"}]}, {"runs": {"x": {"whole": 1}}}],
)
def test_what_was_saved_and_cannot_be_read_is_begun_anew(saved: Any, caplog: Any) -> None:
    learner = Learner(OBJECTS, saved)

    assert learner.saved() == {"books": [], "runs": {}}
    assert "begins anew" in caplog.text


def test_an_audited_profile_tells_what_it_would_refuse_and_who_called(node: Node) -> None:
    allowed = sorted(set(NATIVE.values()) - {"acct"})
    profile = agent_pb2.AuditedProfile(container="web", syscalls=allowed)
    learner = node.learner(a=Wanted(1, agent_pb2.Learning(seccomp=True, audited=[profile])))
    cgroup = node.cgroup("1")
    node.meet(learner, cgroup, "a")
    run(cgroup, "acct", "acct", "flock")
    [refusal] = one(learner).refusals

    assert (refusal.call, refusal.count, refusal.comm) == ("acct", 2, "python3")
    assert not refusal.enforced

    learner.apply({"a": Wanted(1, LEARN)})  # it is audited no more
    run(cgroup, "acct")
    node.leave(learner, cgroup)
    [refusal] = one(learner).refusals
    assert refusal.count == 2


PATH = "eunomia/shop/guard-web.json"
GUARDED = agent_pb2.Learning(
    seccomp=True,
    audited=[agent_pb2.AuditedProfile(container="web", syscalls=["flock"])],
    profiles=[agent_pb2.WornProfile(container="web", path=PATH)],
    bound=True,
)


def test_a_refused_call_is_found_once_a_container_with_who_made_it_over_restarts(
    node: Node,
) -> None:
    wanted = {"a": Wanted(1, GUARDED)}
    learner = node.learner(None, **wanted)
    cgroup, short, other = node.cgroup("1"), node.cgroup("2"), node.cgroup("3")
    worn = {
        node.owner(cgroup).container_id: Confinement(PATH),
        node.owner(other).container_id: Confinement(),
    }
    node.meet(learner, cgroup, "a")
    run(cgroup, "acct", "acct", refused="acct")
    learner.tick()
    assert all(each.dry_run for _, each in learner.take_findings())  # who refuses it?
    learner.tick(worn)
    told = {each.key: each for _, each in learner.take_findings()}
    assert told.keys() == {"acct"}
    one = told["acct"]

    assert (one.rule, one.count, one.response, one.dry_run) == ("call-refused", 2, "Refused", False)
    assert (one.row["comm"], one.row["uid"]) == ("python3", 0)
    assert one.row["exe"] == os.path.realpath("/usr/bin/python3")
    assert one.row["ancestor_pids"][0] == os.getpid()
    assert one.owner.pod == "pod-1"

    run(cgroup, "acct", refused="acct")
    learner.tick(worn)
    assert learner.take_findings() == []
    saved = json.loads(json.dumps(learner.saved()))
    learner.close()

    learner = node.learner(saved, **wanted)
    for each in (cgroup, short, other):
        node.meet(learner, each, "a")
        run(each, "acct", refused="acct")
    node.leave(learner, short)  # before anybody has looked
    learner.tick(worn)
    refused = [(uid, each) for uid, each in learner.take_findings() if each.rule == "call-refused"]
    enforced = [(uid, each.key, each.owner.pod) for uid, each in refused if not each.dry_run]
    assert enforced == [("a", "acct", "pod-2")]


def test_a_container_that_starts_without_its_profile_is_found_those_that_ran_before_are_not(
    node: Node,
) -> None:
    unseen = node.cgroup("3")
    learner = node.learner(None, a=Wanted(1, agent_pb2.Learning(seccomp=True)))
    before, after = node.cgroup("1"), node.cgroup("2")
    run(before, "flock")
    node.meet(learner, before, "a")
    learner.apply({"a": Wanted(1, GUARDED)})
    for cgroup in (before, unseen, after, after):  # unseen: only now it came to be the policy's
        run(cgroup, "flock")
        node.meet(learner, cgroup, "a")

    def missing() -> list[str]:
        found = learner.take_findings()
        return [each.owner.pod for _, each in found if each.rule == "profile-missing"]

    learner.tick()
    assert missing() == []  # the runtime has not said what it wears
    for _ in range(2):
        owners = map(node.owner, (before, unseen, after))
        learner.tick({each.container_id: Confinement() for each in owners})
    assert missing() == ["pod-2"]


def test_of_a_job_that_is_forgotten_nothing_is_kept_with_runs_that_go_on(node: Node) -> None:
    learner = node.learner(a=Wanted(1, GUARDED), b=Wanted(2, GUARDED))
    cgroup = node.cgroup("1")
    node.meet(learner, cgroup, "a", "b")
    run(cgroup, "acct")
    learner.tick()

    def told() -> list[str]:
        [saved] = learner.saved()["runs"].values()
        return sorted(saved["told"])

    assert told() == ["a", "b"]
    learner.apply({"b": Wanted(2, GUARDED)})
    learner.forget("a")
    assert told() == ["b"]


def test_a_filter_that_was_on_is_told_and_what_the_runtime_does_under_it(node: Node) -> None:
    learner = node.learner(a=Wanted(1, LEARN))
    cgroup = node.cgroup("1")
    run(cgroup, "flock", filtered=True)
    node.meet(learner, cgroup, "a")
    found = one(learner)

    assert found.base == "Filtered"
    assert (found.HasField("given"), found.replicas) == (False, 1)
    told = Confinement("", "RuntimeDefault", frozenset({"CAP_CHOWN"}), privileged=False)
    learner.tick({node.owner(cgroup).container_id: told})
    [named] = learner.report("a")
    assert (named.base, list(named.given.capabilities)) == ("RuntimeDefault", ["CAP_CHOWN"])
    assert "execve" in counts(found.runtime_calls)
    assert "seccomp" not in counts(found.runtime_calls)  # it came before the filter was on


def test_capabilities_are_told_with_the_call_that_asked(node: Node) -> None:
    learner = node.learner(a=Wanted(1, LEARN))
    cgroup = node.cgroup("1")
    run(cgroup, "acct")
    node.meet(learner, cgroup, "a")
    found = {each.name: each for each in one(learner).capabilities}

    assert found["CAP_SYS_PACCT"].call == "acct"
    assert (found["CAP_SYS_PACCT"].granted, found["CAP_SYS_PACCT"].runs) == (1, 1)
    assert "CAP_SYS_ADMIN" not in found  # which every mapping of memory asks for


def many(count: int) -> list[Owner]:
    """Owners of cgroups that nobody is in."""
    first = 1 << 40
    return [
        Owner(first + each, "container", "shop", "pod", "uid", "web", f"{each:064x}")
        for each in range(count)
    ]


def test_many_containers_that_come_and_go_at_once_cost_one_wait_for_the_kernel(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[None] = []
    monkeypatch.setattr(recording, "wait_for_programs", lambda: waits.append(None))
    audited = agent_pb2.AuditedProfile(container="web", syscalls=["flock"])
    learner = node.learner(a=Wanted(1, agent_pb2.Learning(audited=[audited])))
    owners = many(200)

    for owner in owners:
        learner.meet(owner, ["a"])
    learner.tick()
    assert len(waits) == 1
    for owner in owners[:100]:
        learner.meet(owner, [])
    learner.gone(*(owner.cgroup_id for owner in owners[100:150]))
    assert len(waits) == 1
    learner.apply({})
    assert len(waits) == 2


def test_more_cgroups_than_there_is_room_to_audit_are_told_of_and_nothing_fails(
    node: Node,
) -> None:
    audited = agent_pb2.AuditedProfile(container="web", syscalls=["flock"])
    learner = node.learner(a=Wanted(1, agent_pb2.Learning(audited=[audited])))
    for owner in many(2100):
        learner.meet(owner, ["a"])
    assert learner.problem == "52 times there was no room to audit a cgroup"


def test_a_run_that_ends_while_nobody_looks_is_not_whole(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "PATIENCE_SECONDS", -1.0)
    learner = node.learner(a=Wanted(1, LEARN))
    cgroup = node.cgroup("1")
    run(cgroup, "flock")
    node.meet(learner, cgroup, "a")
    assert one(learner).whole_runs == 1
    learner.close()

    for before in (learner.saved(), json.loads(json.dumps(learner.saved()))):
        found = one(node.learner(before, a=Wanted(1, LEARN)))
        assert (found.runs, found.whole_runs) == (1, 0)


def test_a_job_that_pauses_learns_nothing_from_the_containers_that_it_shares(node: Node) -> None:
    both = {"a": Wanted(1, LEARN), "b": Wanted(2, LEARN)}
    learner = node.learner(None, **both)
    cgroup = node.cgroup("1")
    run(cgroup, "flock")
    node.meet(learner, cgroup, "a", "b")
    learner.apply({"b": both["b"]})
    node.now = 1010.0
    run(cgroup, "acct")

    paused, other = one(learner, "a"), one(learner, "b")
    assert (paused.runs, paused.whole_runs, paused.last_new_ms) == (1, 0, 1_000_000)
    assert "flock" in counts(paused.calls)
    assert "acct" not in counts(paused.calls)
    assert (other.whole_runs, other.last_new_ms) == (1, 1_010_000)
    assert "acct" in counts(other.calls)

    saved = json.loads(json.dumps(learner.saved()))
    assert Learner(OBJECTS, saved).report("a") == [paused]
    learner.apply(both)
    node.meet(learner, cgroup, "a", "b")
    node.leave(learner, cgroup)
    again = one(learner, "a")
    assert again.runs == 1
    assert {"flock", "acct"} <= counts(again.calls).keys()
