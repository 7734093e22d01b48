# SPDX-License-Identifier: Apache-2.0
"""Jobs that enforce a rule: on whom, for how long, and which are refused."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.jobs.admission import admit
from eunomia_agent.jobs.enforcing import deadline
from eunomia_agent.jobs.job import policy_of
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
OPEN = "import os, sys\ntry: os.open(sys.argv[1], os.O_RDONLY)\nexcept OSError: pass"


def fate(cgroup: Path, path: str) -> int:
    """Return how a process ends that opens a file."""

    def enter() -> None:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, "-S", "-E", "-c", OPEN, path]
    return subprocess.run(command, preexec_fn=enter, check=False).returncode


@pytest.fixture
def killer(job: Callable[..., agent_pb2.Job]) -> Callable[..., agent_pb2.Job]:
    def killer(
        when: str = 'error == "ENOENT"', *exceptions: str, count: int = 1, **fields: Any
    ) -> agent_pb2.Job:
        excepted = [agent_pb2.RuleException(when=each) for each in exceptions]
        rule = agent_pb2.Rule(name="r", when=when, exceptions=excepted, count=count)
        kill = agent_pb2.ENFORCEMENT_KILL
        return job("p/kill/r", "/none/k-", enforcement=kill, rules=[rule], **fields)

    return killer


def test_who_breaks_the_rule_is_killed_and_counted(
    world: Any, job: Callable[..., agent_pb2.Job], killer: Callable[..., agent_pb2.Job]
) -> None:
    cgroup, other = world.cgroup("one"), world.cgroup("two")
    world.tracing.meet(world.owner(cgroup))
    world.apply(killer(), job("t", "/none/k-"))

    assert fate(cgroup, "/none/k-1") == -signal.SIGKILL
    assert fate(cgroup, "/none/other") == 0
    assert fate(other, "/none/k-1") == 0
    assert world.total("p/kill/r") == Totals(matched=1, delivered=1, enforced=1)
    assert world.total("t") == Totals(matched=1, delivered=1)

    world.apply(job("t", "/none/k-"))
    assert fate(cgroup, "/none/k-1") == 0


def test_a_job_that_only_tries_its_rules_kills_nobody(
    world: Any, killer: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("dry")
    world.tracing.meet(world.owner(cgroup))
    world.apply(killer(dry_run=True))

    assert fate(cgroup, "/none/k-1") == 0
    assert world.total("p/kill/r") == Totals(matched=1, delivered=1)


def test_no_job_of_a_policy_that_is_deleted_runs_on_when_the_first_is_forgotten(
    world: Any, job: Callable[..., agent_pb2.Job], killer: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("deleted")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job("p", "/none/k-"), killer(dry_run=True))
    world.opens(cgroup, "/none/k-", 2)
    forgotten: list[str] = []

    def on_forget(gone: agent_pb2.Job) -> None:
        forgotten.append(gone.uid)
        world.opens(cgroup, "/none/k-", 3)

    world.on_forget = on_forget
    world.apply()
    assert forgotten == ["p", "p/kill/r"]
    assert len(world.rows("p/kill/r")) == 2


def test_killing_stops_first_when_the_operator_is_silent_and_counting_goes_on(
    world: Any, killer: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("silent")
    world.tracing.meet(world.owner(cgroup))
    world.apply(killer(respond_ms=3_600_000))
    assert fate(cgroup, "/none/k-1") == -signal.SIGKILL

    world.tracing.silent_for(3601)
    assert fate(cgroup, "/none/k-2") == 0
    world.tracing.silent_for(0)
    assert fate(cgroup, "/none/k-3") == -signal.SIGKILL
    assert world.total("p/kill/r") == Totals(matched=3, delivered=3, enforced=2)


def test_who_opens_a_file_by_another_name_is_killed_all_the_same_also_when_attached_anew(
    world: Any, killer: Callable[..., agent_pb2.Job], tmp_path: Path
) -> None:
    (tmp_path / "release_agent").touch()
    (tmp_path / "plain").symlink_to("release_agent")
    (tmp_path / "other").touch()
    wanted = killer('kind == "open" && path.endsWith("/release_agent") && container_id != ""')
    wanted.trackers[0].CopyFrom(agent_pb2.Tracker(name="access"))
    cgroup = world.cgroup("paths")
    world.tracing.meet(world.owner(cgroup))
    world.apply(wanted)
    (instance,) = world.tracing.tick().instances
    for _ in range(2):
        assert fate(cgroup, str(tmp_path / "plain")) == -signal.SIGKILL
        assert fate(cgroup, str(tmp_path / "other")) == 0
        instance.detach()
        instance.attach()
    assert world.total("p/kill/r") == Totals(matched=2, delivered=2, enforced=2)


def test_a_condition_on_whose_it_is_is_asked_of_containers_before_anything_happens(
    world: Any, killer: Callable[..., agent_pb2.Job]
) -> None:
    cgroup, other = world.cgroup("mine"), world.cgroup("other")
    for each in (cgroup, other):
        world.tracing.meet(world.owner(each))
    pod = f'container_id != "" && pod == "pod-{cgroup.name}" && error == "ENOENT"'
    world.apply(killer(pod))
    assert fate(cgroup, "/none/k-1") == -signal.SIGKILL
    assert fate(other, "/none/k-1") == 0
    assert world.total("p/kill/r").enforced == 1


def test_who_is_killed_may_go_by_the_labels_of_the_pod(
    world: Any, killer: Callable[..., agent_pb2.Job]
) -> None:
    """The kernel knows no labels: cgroups are chosen by them, as they become known."""
    jobs, other, none = (world.cgroup(name) for name in ("jobs", "other", "none"))
    world.tracing.meet(world.owner(jobs, app="jobs"))
    world.tracing.meet(world.owner(other, app="web"))
    world.tracing.meet(world.owner(none))
    world.apply(killer('labels["app"] == "jobs" && error == "ENOENT"'))
    fates = [fate(each, "/none/k-1") for each in (jobs, other, none)]
    assert fates == [-signal.SIGKILL, 0, 0]
    assert world.total("p/kill/r").enforced == 1


def test_a_pod_without_the_label_of_an_exception_is_not_excepted(
    world: Any, killer: Callable[..., agent_pb2.Job]
) -> None:
    """Nothing can be told of a label that is not there, and then an exception excepts nothing."""
    excepted, other, none = (world.cgroup(name) for name in ("excepted", "other", "none"))
    world.tracing.meet(world.owner(excepted, debug="true"))
    world.tracing.meet(world.owner(other, debug="no"))
    world.tracing.meet(world.owner(none, app="web"))
    world.apply(killer('error == "ENOENT"', 'labels["debug"] == "true"', 'pod == "somebody"'))
    fates = [fate(each, "/none/k-1") for each in (excepted, other, none)]
    assert fates == [0, -signal.SIGKILL, -signal.SIGKILL]
    assert world.total("p/kill/r").enforced == 2


def test_what_was_killed_is_counted_on_when_the_job_begins_again(
    world: Any, killer: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("again")
    world.tracing.meet(world.owner(cgroup))
    for suspended in (False, True, False):
        world.apply(killer(suspended=suspended))
        fate(cgroup, "/none/k-1")
    assert world.total("p/kill/r").enforced == 2
    kept = world.end().totals["p/kill/r"]
    assert sum(kept.trackers.values(), Totals()).enforced == 2


@pytest.mark.parametrize(
    ("tracker", "where", "told"),
    [
        ("opensnoop", 'error == "ENOENT" && path.contains("x")', 'cannot: path.contains("x");'),
        ("opensnoop", 'comm != "runc"', 'cannot: comm != "runc";'),
        ("opensnoop", "", "no condition says who"),
        ("opensnoop", 'pod == "web-0"', 'cannot: pod == "web-0";'),
        ("opensnoop", 'error == "ENOENT" && (pod == "a" || fd < 0)', 'cannot: pod == "a" || fd'),
        ("tcp", "dport == 22", "may tell of others"),
        ("files", "inode == 1", "may tell of others"),
    ],
)
def test_a_job_that_would_kill_on_what_the_kernel_cannot_decide_is_refused(
    world: Any, killer: Callable[..., agent_pb2.Job], tracker: str, where: str, told: str
) -> None:
    cgroup = world.cgroup("refused")
    world.tracing.meet(world.owner(cgroup))
    wanted = killer(where)
    if tracker != "opensnoop":
        del wanted.trackers[0].params["prefix"]
    wanted.trackers[0].name = tracker
    world.apply(wanted)

    report = world.tracing.tick().reports["p/kill/r"]
    assert (report.state, report.reason) == (agent_pb2.JOB_STATE_FAILED, "KillNotInKernel")
    assert report.message.startswith(f"{tracker}: ")
    assert told in report.message
    assert fate(cgroup, "/none/k-1") == 0


def test_a_rule_that_takes_several_events_kills_nobody(
    world: Any, killer: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = world.cgroup("several")
    world.tracing.meet(world.owner(cgroup))
    world.apply(killer(count=20))
    report = world.tracing.tick().reports["p/kill/r"]
    assert (report.reason, "at the first event" in report.message) == ("KillNotInKernel", True)
    assert fate(cgroup, "/none/k-1") == 0


@pytest.mark.parametrize(
    ("enforcement", "everything", "told"),
    [
        (7, False, "enforcement 7, which this agent does not know"),
        (agent_pb2.ENFORCEMENT_KILL, True, "the job says Kill, and names nobody"),
        (agent_pb2.ENFORCEMENT_DENY, True, "the job says Deny, and names nobody"),
    ],
)
def test_what_no_agent_would_enforce_is_refused_and_loads_nothing(
    world: Any,
    killer: Callable[..., agent_pb2.Job],
    enforcement: agent_pb2.Enforcement,
    everything: bool,
    told: str,
) -> None:
    wanted = killer(target=agent_pb2.Target(everything=everything))
    wanted.enforcement = enforcement
    world.apply(wanted)
    report = world.tracing.tick().reports["p/kill/r"]
    assert (report.state, report.reason) == (agent_pb2.JOB_STATE_FAILED, "InvalidJob")
    assert told in report.message


@pytest.mark.parametrize("count", [0, 2])
def test_a_job_that_does_not_say_which_rule_it_enforces_is_refused(
    world: Any, killer: Callable[..., agent_pb2.Job], count: int
) -> None:
    wanted = killer()
    rule = wanted.rules.pop()
    wanted.rules.extend([rule] * count)
    world.apply(wanted)
    report = world.tracing.tick().reports["p/kill/r"]
    assert (report.state, report.reason) == (agent_pb2.JOB_STATE_FAILED, "InvalidJob")
    assert f"the job says Kill, and has {count} rules" in report.message


@pytest.mark.parametrize(
    ("enforcement", "told"),
    [
        (agent_pb2.ENFORCEMENT_NONE, agent_pb2.PolicyReport()),
        (agent_pb2.ENFORCEMENT_KILL, agent_pb2.PolicyReport(killed=3)),
        (agent_pb2.ENFORCEMENT_DENY, agent_pb2.PolicyReport(denied=3)),
    ],
)
def test_what_was_enforced_is_reported_as_what_it_was(
    enforcement: agent_pb2.Enforcement, told: agent_pb2.PolicyReport
) -> None:
    wanted = agent_pb2.Job(enforcement=enforcement, rules=[agent_pb2.Rule()])
    before = JobTotals({"access": Totals(matched=3, delivered=3, enforced=3)})
    assert policy_of(admit(wanted, before).totals()) == told


@pytest.mark.parametrize(
    ("respond_ms", "silence", "until"),
    [(0, 1e9, 0), (1000, 0.0, 7_000_000_000), (1000, 0.5, 6_500_000_000), (1000, 1e6, 1)],
)
def test_killing_ends_so_long_after_the_last_word(
    respond_ms: int, silence: float, until: int
) -> None:
    assert deadline(6_000_000_000, respond_ms, silence) == until
