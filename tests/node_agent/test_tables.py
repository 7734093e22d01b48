# SPDX-License-Identifier: Apache-2.0
"""Jobs whose results the kernel adds up, conditions, samples, processes and the ladder."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eunomia_agent.jobs import delivery
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers import ladder
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
Job = Callable[..., agent_pb2.Job]

OPEN_AND_FORK = """
import contextlib, os
input()
with contextlib.suppress(OSError):
    os.open("/none/a-own", os.O_RDONLY)
if not os.fork():
    with contextlib.suppress(OSError):
        os.open("/none/a-child", os.O_RDONLY)
"""

MANY_AND_THEN = """
import contextlib, os, sys
input()
if not os.fork():
    for _ in range(int(sys.argv[1])):
        if not os.fork():
            os._exit(0)
        os.wait()
    os._exit(0)
os.wait()
with contextlib.suppress(OSError):
    os.open("/none/a-late", os.O_RDONLY)
"""
CONNECT_AND_END = """
import contextlib, os, socket, sys
input()
if not os.fork():
    peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    peer.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            peer.send(bytes(65536))
    os._exit(0)
os.wait()
"""
AT_ONCE_AND_THEN = """
import contextlib, os, signal, sys
input()
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        signal.pause()
    children.append(child)
if not os.fork():
    with contextlib.suppress(OSError):
        os.open("/none/a-unfollowed", os.O_RDONLY)
    os._exit(0)
os.wait()
for child in children:
    os.kill(child, signal.SIGKILL)
    os.wait()
"""

PIPES = """
import os, sys
here, there = os.pipe()
for _ in range(int(sys.argv[1])):
    os.write(there, b"x")
    os.read(here, 1)
    for end in os.pipe():
        os.close(end)
"""


def counting(job: Job, uid: str = "a", *, interval_ms: int = 3_600_000, **params: bool) -> Any:
    """A job that counts system calls, for so long that nothing is read unasked."""
    wanted = job(uid, interval_ms=interval_ms)
    wanted.trackers[0].CopyFrom(
        agent_pb2.Tracker(
            name="syscall",
            params={name: agent_pb2.Param(boolean=value) for name, value in params.items()},
        )
    )
    return wanted


def counted(world: Any, uid: str, call: str) -> int:
    return sum(row["count"] for row in world.rows(uid) if row["syscall"] == call)


def end(world: Any, uid: str) -> Totals:
    """Apply nothing, which ends all jobs and reads what is left."""
    jobs = dict(world.tracing.jobs)
    world.tracing.end()
    return sum((ledger.totals() for ledger in jobs[uid].ledgers.values()), Totals())


def test_what_the_kernel_added_up_is_read_to_the_last_when_a_job_ends(world: Any, job: Job) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    world.apply(counting(job))
    world.opens(cgroup, "/none/a-", 700)

    totals = end(world, "a")

    rows = world.rows("a")
    assert counted(world, "a", "openat") >= 700
    assert totals.matched == totals.delivered == sum(row["count"] for row in rows) > 700
    assert {(row["source"], row["pod"], row["container"]) for row in rows} == {
        ("counts", f"pod-{cgroup.name}", "main")
    }


def test_intervals_add_up_and_none_is_counted_twice(world: Any, job: Job) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    world.apply(counting(job, interval_ms=1))
    for _ in range(5):
        world.opens(cgroup, "/none/a-", 300)
        world.tracing.tick()

    totals = end(world, "a")

    failed = sum(row["errors"] for row in world.rows("a") if row["syscall"] == "openat")
    assert failed >= 1500
    assert failed % 1500 < 1500 // 3, "the interpreter's own failures are few"
    assert totals.matched == totals.delivered == sum(row["count"] for row in world.rows("a"))


def test_a_changed_interval_holds_from_then_on(world: Any, job: Job) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    world.apply(counting(job))
    world.opens(cgroup, "/none/a-", 300)
    world.apply(counting(job, interval_ms=1))
    assert counted(world, "a", "openat") >= 300, "what was counted until then is read"
    world.opens(cgroup, "/none/a-", 300)

    report = world.tracing.tick().reports["a"]

    assert counted(world, "a", "openat") >= 600
    assert report.gaps == 1
    assert report.totals.delivered == sum(row["count"] for row in world.rows("a"))


def test_a_job_that_joins_sees_nothing_of_what_was_counted_before(world: Any, job: Job) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    world.apply(counting(job, "a"))
    world.opens(cgroup, "/none/a-", 1000)
    world.apply(counting(job, "a"), counting(job, "b"))
    assert len({instance.key for instance in world.tracing.tick().instances}) == 1
    world.opens(cgroup, "/none/a-", 10)

    world.end()

    assert 10 <= counted(world, "b", "openat") < 500
    assert counted(world, "a", "openat") == counted(world, "b", "openat") + 1000 + (
        counted(world, "b", "openat") - 10
    )


def test_rows_of_a_container_that_is_gone_are_its_own(world: Any, job: Job) -> None:
    cgroup = world.cgroup("short")
    world.apply(counting(job))
    world.tracing.meet(world.owner(cgroup, "pending"))
    world.opens(cgroup, "/none/a-", 300)
    world.tracing.meet(world.owner(cgroup))
    world.tracing.gone(cgroup.stat().st_ino)
    world.tracing.tick()

    assert counted(world, "a", "openat") >= 300
    assert {row["pod"] for row in world.rows("a")} == {f"pod-{cgroup.name}"}


def test_what_was_counted_of_a_stranger_is_not_the_jobs(world: Any, job: Job) -> None:
    cgroup = world.cgroup("other")
    world.apply(counting(job, interval_ms=1))
    world.tracing.meet(world.owner(cgroup, "pending"))
    world.opens(cgroup, "/none/a-", 300)
    world.tracing.tick()
    world.tracing.meet(world.owner(cgroup, "sandbox"))

    assert end(world, "a").matched == 0
    assert world.rows("a") == []


def test_rows_that_raise_come_to_one_end_in_the_job_that_they_are_of(world: Any, job: Job) -> None:
    cgroup, other = world.cgroup("one"), world.cgroup("other")
    world.tracing.meet(world.owner(cgroup))
    world.tracing.meet(world.owner(other, "host"))
    elsewhere = counting(job, "c")
    elsewhere.target.CopyFrom(agent_pb2.Target(host=True))
    world.apply(counting(job, "a"), counting(job, "b"), elsewhere)
    assert len(world.tracing.tick().instances) == 1
    world.sinks["b"][0].broken = True
    world.opens(cgroup, "/none/a-", 300)

    standing = world.end().totals

    fine, broken = standing["a"].trackers["syscall"], standing["b"].trackers["syscall"]
    assert fine.matched == fine.delivered == sum(row["count"] for row in world.rows("a")) > 300
    assert broken == Totals(matched=fine.matched, lost_agent=fine.matched)
    assert standing["c"].trackers["syscall"] == Totals()


@pytest.mark.parametrize("read", [True, False], ids=["read before", "not read yet"])
@pytest.mark.parametrize("end", ["unknown", "gone", "job ends", "job is halted", "sandbox"])
def test_what_was_counted_before_it_was_known_whose_is_unclassified_when_it_never_is(
    world: Any, job: Job, end: str, read: bool
) -> None:
    cgroup = world.cgroup("brief")
    number = cgroup.stat().st_ino
    wanted = counting(job, interval_ms=1 if read else 3_600_000)
    world.apply(wanted)
    world.tracing.meet(world.owner(cgroup, "pending"))
    world.opens(cgroup, "/none/a-", 300)
    world.tracing.tick()

    if end == "gone":
        world.tracing.gone(number)
        world.tracing.tick()
    elif end == "job is halted":
        wanted.suspended = True
        world.apply(wanted)
    elif end != "job ends":
        world.tracing.meet(world.owner(cgroup, end))
    totals = world.end().totals["a"].trackers["syscall"]

    if end == "sandbox":
        assert totals == Totals()
    else:
        assert totals == Totals(unclassified=totals.unclassified)
        assert 300 <= totals.unclassified < 600
    assert world.rows("a") == []


def test_what_waits_is_not_taken_for_that_of_a_job_with_the_same_slot(world: Any, job: Job) -> None:
    cgroup = world.cgroup("brief")
    stays = counting(job, "stays", interval_ms=1)
    others = [counting(job, f"o{number}", interval_ms=1) for number in range(63)]
    world.apply(stays, *others)
    slot = world.tracing.jobs["o62"].slot
    world.tracing.meet(world.owner(cgroup, "pending"))
    world.opens(cgroup, "/none/a-", 300)
    world.tracing.tick()
    world.apply(stays, *others[:-1])
    world.apply(stays, *others[:-1], counting(job, "next", interval_ms=1))
    assert world.tracing.jobs["next"].slot == slot
    world.tracing.meet(world.owner(cgroup))

    assert world.rows("next") == []
    assert counted(world, "stays", "openat") >= 300


def test_a_full_table_says_what_it_turned_away(world: Any, job: Job) -> None:
    cgroup = world.cgroup("many")
    world.tracing.meet(world.owner(cgroup))
    wanted = counting(job)
    wanted.budget.memory_bytes = 100_000
    world.apply(wanted)
    fork = "import os\nfor _ in range(200):\n  if not os.fork(): os._exit(0)\n  os.wait()\n"
    subprocess.run(
        [sys.executable, "-S", "-E", "-c", fork],
        check=True,
        preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())),
    )

    totals = end(world, "a")

    assert totals.lost_kernel > 0
    assert totals.matched == totals.delivered + totals.lost_kernel
    assert totals.delivered == sum(row["count"] for row in world.rows("a"))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('error == "ENOENT"', 60),
        ('error == ""', 0),
        ('path.endsWith("7")', 6),
        ('path.endsWith("7") && uid == 0', 6),
        ("uid == 1", 0),
        ('comm.startsWith("py") && path.contains("-1")', 11),
        ('pod.startsWith("pod-")', 60),
        ('pod == "another"', 0),
    ],
)
def test_a_condition_leaves_rows_out_and_the_account_whole(
    world: Any, job: Job, where: str, expected: int
) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    wanted = job()
    wanted.trackers[0].where = where
    world.apply(wanted)
    world.opens(cgroup, "/none/a-", 60)

    assert world.total("a") == Totals(matched=expected, delivered=expected)
    assert len(world.rows("a")) == expected
    assert end(world, "a") == Totals(matched=expected, delivered=expected)


@pytest.mark.parametrize(("where", "seen"), [("uid == 0", True), ("uid > 0", False)])
def test_the_kernel_decides_on_who_it_was_though_no_row_shows_it(
    world: Any, job: Job, where: str, seen: bool
) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    wanted = counting(job)
    wanted.trackers[0].where = where
    world.apply(wanted)
    world.opens(cgroup, "/none/a-", 50)

    totals = end(world, "a")
    assert (totals.matched > 50) is seen
    assert totals.matched == totals.delivered


def test_a_sample_keeps_one_in_so_many_and_counts_the_others(world: Any, job: Job) -> None:
    cgroup = world.cgroup("one")
    world.tracing.meet(world.owner(cgroup))
    wanted = job()
    wanted.trackers[0].sample = 10
    world.apply(wanted)
    world.opens(cgroup, "/none/a-", 10_000)

    totals = world.total("a")
    assert totals.matched == 10_000 == totals.delivered + totals.sampled_out
    assert 700 < totals.delivered == len(world.rows("a")) < 1300


def test_everything_is_seen_in_cgroups_that_are_no_target(world: Any, job: Job) -> None:
    wanted = job(target=agent_pb2.Target(everything=True))
    cgroup = world.cgroup("any")
    world.tracing.meet(world.owner(cgroup, "unknown"))
    world.apply(wanted)
    world.opens(cgroup, "/none/a-", 50)

    assert world.total("a") == Totals(matched=50, delivered=50)


@pytest.mark.parametrize("sample", [1, 1_000_000])
def test_what_a_removed_cgroup_left_behind_is_counted_and_forgotten_again(
    world: Any, job: Job, monkeypatch: pytest.MonkeyPatch, sample: int
) -> None:
    monkeypatch.setattr(delivery, "UNHEARD_SECONDS", 0.0)
    wanted = job(target=agent_pb2.Target(everything=True))
    wanted.trackers[0].sample = sample
    cgroup = world.cgroup("lingers")
    world.tracing.meet(world.owner(cgroup))
    world.apply(wanted)
    world.tracing.gone(cgroup.stat().st_ino)
    world.tracing.tick()

    for turn in (1, 2):
        world.opens(cgroup, "/none/a-", 50)  # as a connection would that it left open
        totals = world.total("a")
        assert totals.matched == 50 * turn == totals.delivered + totals.sampled_out
        assert cgroup.stat().st_ino not in world.tracing.owners
        job_now, (run,) = world.tracing.jobs["a"], world.tracing.jobs["a"].runs.values()
        assert cgroup.stat().st_ino not in job_now.members.keys() | job_now.near
        assert run.instance.accounts.one(job_now.slot, cgroup.stat().st_ino) is None
    if sample == 1:
        assert {row["owner"] for row in world.rows("a")} == {"unknown"}


def test_only_a_process_and_what_it_starts(world: Any, job: Job) -> None:
    cgroup = world.cgroup("all")
    world.tracing.meet(world.owner(cgroup))
    child = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", OPEN_AND_FORK],
        stdin=subprocess.PIPE,
        preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())),  # noqa: PLW1509
    )
    alone = job("a", "/none/a-", target=agent_pb2.Target(everything=True, pids=[child.pid]))
    family = job("b", "/none/a-", target=agent_pb2.Target(everything=True, pids=[child.pid]))
    family.target.children = True
    world.apply(alone, family)
    world.opens(cgroup, "/none/a-", 20)
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.close()
    child.wait()
    time.sleep(0.2)  # the grandchild is nobody's

    world.total("a")
    assert [row["path"] for row in world.rows("a")] == ["/none/a-own"]
    assert sorted(row["path"] for row in world.rows("b")) == ["/none/a-child", "/none/a-own"]


def family_of(
    world: Any, job: Job, script: str, number: int, *, tracker: str = "opensnoop"
) -> subprocess.Popen[bytes]:
    """Start a job that watches a process and what it starts, and let the process begin."""
    cgroup = world.cgroup("family")
    world.tracing.meet(world.owner(cgroup))
    first = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", script, str(number)],
        stdin=subprocess.PIPE,
        preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())),  # noqa: PLW1509
    )
    target = agent_pb2.Target(everything=True, pids=[first.pid], children=True)
    wanted = job("a", "/none/a-", target=target)
    if tracker != "opensnoop":
        wanted.trackers[0].CopyFrom(agent_pb2.Tracker(name=tracker))
    world.apply(wanted)
    assert first.stdin is not None
    first.stdin.write(b"\n")
    first.stdin.close()
    return first


def test_a_process_that_waits_is_still_watched_after_thousands_of_its_children_ended(
    world: Any, job: Job
) -> None:
    assert family_of(world, job, MANY_AND_THEN, 6000).wait() == 0

    assert world.total("a") == Totals(matched=1, delivered=1)
    assert [row["path"] for row in world.rows("a")] == ["/none/a-late"]


def test_a_connection_is_its_process_s_until_it_is_closed_even_after_that_ended(
    world: Any, job: Job
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    first = family_of(
        world,
        job,
        CONNECT_AND_END,
        listener.getsockname()[1],
        tracker="tcp",
    )
    peer, _ = listener.accept()
    assert first.wait() == 0
    time.sleep(0.2)  # until the child is out of the kernel
    while peer.recv(1 << 20):
        pass  # what it sent before it ended, and only then the end of the connection
    peer.close()
    listener.close()
    time.sleep(0.1)

    world.total("a")
    events = [(row["pid"], row["kind"]) for row in world.rows("a")]
    assert [event for _, event in events] == ["connect", "close"]
    assert len({pid for pid, _ in events} - {first.pid}) == 1


def test_what_a_process_did_that_found_no_room_to_be_followed_may_have_been_the_jobs(
    world: Any, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Object.load

    def load_small(loaded: Object) -> None:
        if "pids" in loaded.maps:
            loaded.map("pids").resize(8)
        load(loaded)

    monkeypatch.setattr(Object, "load", load_small)
    assert family_of(world, job, AT_ONCE_AND_THEN, 20).wait() == 0

    totals = world.total("a")
    assert world.rows("a") == []
    assert totals.matched == 0
    assert totals.unclassified >= 1, "at most so many more were the job's"


def test_a_tracker_that_only_counts_is_not_stopped_by_a_full_table(
    world: Any, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "COUNTS_ABOVE", 1)
    monkeypatch.setattr(ladder, "PATIENCE_SECONDS", 0.0)
    cgroup = world.cgroup("many")
    world.tracing.meet(world.owner(cgroup))
    wanted = counting(job)
    wanted.budget.memory_bytes = 100_000
    wanted.budget.events_per_second = 1
    world.apply(wanted)
    world.tracing.tick()
    fork = "import os\nfor _ in range(200):\n  if not os.fork(): os._exit(0)\n  os.wait()\n"
    subprocess.run(
        [sys.executable, "-S", "-E", "-c", fork],
        check=True,
        preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())),
    )

    assert world.tracing.tick().reports["a"].degraded == ""
    assert end(world, "a").lost_kernel > 0, "the table was full"


def test_a_job_that_would_sample_counts_does_not_run(world: Any, job: Job) -> None:
    wanted = counting(job)
    wanted.trackers[0].sample = 10
    world.apply(wanted)

    report = world.tracing.tick().reports["a"]
    assert (report.state, report.reason) == (agent_pb2.JOB_STATE_FAILED, "InvalidSample")
    assert report.message.startswith("syscall: sample must be 1 or absent, not 10: ")


def test_several_cgroups_of_one_container_have_no_more_than_its_budget(
    world: Any, job: Job
) -> None:
    cgroups = [world.cgroup(f"nested{number}") for number in range(5)]
    for cgroup in cgroups:
        world.tracing.meet(replace(world.owner(cgroup), container_id="c0ffee"))
    world.apply(job(rate=1000))
    for cgroup in cgroups:
        world.opens(cgroup, "/none/a-", 1)
    world.total("a")

    began = time.monotonic()
    for cgroup in cgroups:
        world.opens(cgroup, "/none/a-", 2000)
    seconds = time.monotonic() - began

    totals = world.total("a")
    assert totals.matched == 10_005 == totals.delivered + totals.limited
    assert 1000 < totals.delivered <= 1000 * (1 + seconds) + len(cgroups)


@pytest.fixture
def steep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a job go down the ladder at some thousand events a second, and never up by itself."""
    monkeypatch.setattr(ladder, "COUNTS_ABOVE", 1000)
    monkeypatch.setattr(ladder, "STOPPED_ABOVE", 1000)
    monkeypatch.setattr(ladder, "STOPPED_FACTOR", 10)
    monkeypatch.setattr(ladder, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(ladder, "CALM_SECONDS", 1e9)
    monkeypatch.setattr(ladder, "REST_SECONDS", 0.0)


def test_what_a_tracker_counted_until_it_was_stopped_is_read_and_nothing_of_the_gap(
    world: Any, job: Job, steep: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(count: int) -> str:
        subprocess.run(
            [sys.executable, "-S", "-E", "-c", PIPES, str(count)],
            check=True,
            preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())),
        )
        return world.tracing.tick().reports["a"].degraded

    def written() -> int:
        return sum(row["writes"] for row in world.rows("a") if "writes" in row)

    cgroup = world.cgroup("hot")
    world.tracing.meet(world.owner(cgroup))
    hot, other = job("a", rate=100, interval_ms=3_600_000), job("b", interval_ms=3_600_000)
    for each in (hot, other):
        each.trackers[0].CopyFrom(agent_pb2.Tracker(name="ipc"))
    world.apply(hot, other)
    assert len(world.tracing.tick().instances) == 1
    assert "ipc: events are only counted" in write(3000)
    assert "ipc: stopped" in write(3000)
    assert written() == 6000

    assert "ipc: events are only counted" in write(500), "it is looked at again"
    monkeypatch.setattr(ladder, "CALM_SECONDS", 0.0)
    world.tracing.tick()
    assert write(5) == ""
    totals = world.end().totals["a"].trackers["ipc"]
    assert written() == 6005
    assert totals.matched == totals.settled > 12_000


def test_far_above_its_budget_a_job_is_counted_then_stopped_and_comes_back(
    world: Any, job: Job, steep: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup = world.cgroup("hot")
    world.tracing.meet(world.owner(cgroup))
    world.apply(job(rate=100))

    def run(count: int) -> str:
        world.tracing.tick()
        world.opens(cgroup, "/none/a-", count)
        return world.tracing.tick().reports["a"].degraded

    assert run(10) == ""
    assert "opensnoop: events are only counted:" in run(3000)
    delivered = world.total("a").delivered
    assert "opensnoop: stopped, to be tried again" in run(3000)
    totals = world.total("a")
    assert totals.delivered == delivered, "on the second rung no event is delivered"
    assert totals.matched == 6010 == totals.delivered + totals.limited

    monkeypatch.setattr(ladder, "CALM_SECONDS", 0.0)
    for _ in range(3):
        world.tracing.tick()
    assert run(5) == ""
    assert world.total("a").delivered == delivered + 5
    assert world.tracing.tick().reports["a"].gaps == 1
