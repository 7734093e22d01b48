# SPDX-License-Identifier: Apache-2.0
"""A long day in short: many events, jobs and containers, and nothing that grows.

EUNOMIA_LONG=1 makes 55 million events, and thirty times as many jobs: some minutes.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.sinks.file import FileSink
from eunomia_agent.trackers.pool import CLOSERS
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
    pytest.mark.timeout(1200),
]
A = Callable[..., Any]
LONG = bool(os.environ.get("EUNOMIA_LONG"))
MIB = 1 << 20
OPENS, GETPIDS = (15_000_000, 40_000_000) if LONG else (1_500_000, 2_000_000)
JOBS = 500 if LONG else 15
CGROUPS = 2000 if LONG else 80


def descriptors() -> Counter[str]:
    """What the descriptors of this process stand for, files of the test itself left out."""
    found: Counter[str] = Counter()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        found[target.partition(":[")[0] if target.startswith(("pipe", "socket")) else target] += 1
    return found


def both(*, where: str = "") -> list[agent_pb2.Tracker]:
    """Every open as an event, and every system call as a count."""
    return [
        agent_pb2.Tracker(
            name="opensnoop", params={"prefix": agent_pb2.Param(text="/none/")}, where=where
        ),
        agent_pb2.Tracker(name="syscall"),
    ]


def test_memory_is_flat_over_millions_of_events(
    machine: A,
    job: A,
    loads: Any,
    make_cgroup: A,
    resident: A,
    inside: A,
    tmp_path: Path,
    record_property: A,
) -> None:
    cgroup = make_cgroup("long")
    wanted = job(memory=64 * MIB, cgroups=[cgroup], trackers=both(), interval_ms=1000)
    before = descriptors(), threading.active_count()

    running = machine(wanted, sinks=lambda job: [FileSink(tmp_path, job.name)])
    began, sizes = time.monotonic(), []
    for part in range(10):
        loads.run("opens", OPENS // 10, f"/none/{part}-", cgroup=cgroup)
        loads.run("getpids", GETPIDS // 10, cgroup=cgroup)
        sizes.append(resident())
    seconds = time.monotonic() - began
    found = inside(os.getpid())
    end = running.end()

    opens, calls = (end.totals["a"].trackers[name] for name in ("opensnoop", "syscall"))
    assert opens.matched == opens.settled == OPENS
    assert calls.matched == calls.settled == calls.delivered
    assert OPENS + GETPIDS <= calls.matched < OPENS + GETPIDS + 10_000
    told = f"{opens.matched + calls.matched:,} events in {seconds:.0f} s, of {OPENS:,} rows"
    told += f" {opens.delivered:,} written; resident MiB: {[size // MIB for size in sizes]}"
    record_property("long run", told)
    print(told)
    assert sizes[-1] - sizes[1] < 8 * MIB, told
    assert found.ids["prog"]
    assert found.left() == {}
    assert (descriptors(), threading.active_count()) == before


def test_jobs_that_come_and_go_leave_nothing(
    machine: A, job: A, loads: Any, make_cgroup: A, resident: A, inside: A, record_property: A
) -> None:
    cgroup = make_cgroup("jobs")
    stays = job("stays", cgroups=[cgroup])
    threads = threading.active_count() + 1
    running = machine(stays)

    def rest() -> tuple[Counter[str], dict[str, int]]:
        running.wait(lambda: len(running.standing.instances) == 1)
        inside_now = inside(os.getpid()).ids
        return (
            descriptors(),
            {kind: len(ids) for kind, ids in inside_now.items()},
        )

    seen = []
    for number in range(JOBS):
        guest = job(f"g{number}", cgroups=[cgroup], interval_ms=100, trackers=both(where="pid > 1"))
        running.apply(stays, guest)
        loads.run("opens", 50, "/none/stays-", cgroup=cgroup)
        running.wait(lambda: running.total("stays").delivered == 50 * (number + 1))  # noqa: B023
        running.wait(lambda: running.total(f"g{number}").delivered >= 50)  # noqa: B023
        running.apply(stays)
        if number in (4, JOBS - 1):
            deadline = time.monotonic() + 10  # programs are taken out by other threads
            while rest()[1]["prog"] > 10 and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)
            seen.append((rest(), resident()))
    (first, size), (last, size_at_end) = seen
    told = f"{JOBS} jobs: resident {size // MIB} to {size_at_end // MIB} MiB, then {last}"
    record_property("jobs", told)
    print(told)
    assert last == first
    assert threading.active_count() <= threads + CLOSERS
    assert size_at_end - size < 8 * MIB, told
    assert set(running.standing.totals) == {"stays"}


def test_containers_that_come_and_go_leave_nothing(
    machine: A, job: A, loads: Any, make_cgroup: A, resident: A
) -> None:
    running = machine(job(trackers=both(where='path.startsWith("/none/a-")')[:1]))
    tracing = running._local._tracing
    (instance,) = running.standing.instances
    owners, accounts = len(tracing.owners), len(instance.accounts.all().get(0, {}))
    size = 0
    for number in range(CGROUPS):
        cgroup = make_cgroup(f"c{number}")
        loads.run("opens", 3, f"/none/a-{number}-", cgroup=cgroup)
        cgroup.rmdir()
        if number == CGROUPS // 4:
            size = resident()
    running.wait(lambda: running.total("a").delivered == 3 * CGROUPS)
    running.wait(lambda: len(tracing.owners) <= owners + 5)
    assert running.total("a").matched == running.total("a").settled == 3 * CGROUPS
    running.wait(lambda: len(instance.accounts.all().get(0, {})) <= accounts + 5)
    assert resident() - size < 8 * MIB
