# SPDX-License-Identifier: Apache-2.0
"""Attempts of a container to hide what it does, or what others do, from the rules of a policy."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.trackers import ladder
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2
from eunomia_api.findings import FLOOD

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
A = Callable[..., Any]


def test_a_flood_from_one_container_hides_no_alert_of_another_and_is_told(
    watch: Any,
    flood: A,
    loud: Path,
    quiet: Path,
    secret: Path,
    pace: A,
    ran: A,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ladder, "PATIENCE_SECONDS", 0.0)  # or the flood had to last for longer
    watch.begin(rate=5000)
    noise = flood(loud, secret)
    watch.wait(lambda: watch.running.total("p").limited)
    busy = pace(noise)
    for _ in range(10):
        watch.read(quiet, secret)
    while len(watch.of(quiet)) < 10:
        assert noise.poll() is None, "the other container was busy all the time"
        time.sleep(0.02)
    busy.end()
    noise.kill()
    totals, report = watch.end()

    came = [(at, each.time_ns / 1e9) for at, each in watch.told.came if each.pod == quiet.name]
    late = [busy.between(read, at) for at, read in came]
    assert statistics.median(late) < 0.2, late
    assert totals.matched == totals.settled
    # Ended and not waited for, it still tells of its time. Where others work, it has less of that.
    made = (totals.matched - 10) / ran(noise)
    assert made > 100_000, f"{made:.0f} events in each second that the flood ran"
    assert totals.limited > totals.delivered > 0
    floods = watch.of(loud, FLOOD)
    assert "come faster than 5 a second" in floods[0].message
    assert report.alerts == totals.delivered + len(floods)
    assert report.dropped == report.alerts - len(watch.told.came) > 0


def test_a_flood_of_one_alert_hides_no_other_of_the_same_container(
    watch: Any, flood: A, loud: Path, secret: Path, secret_rule: agent_pb2.Rule
) -> None:
    memory = agent_pb2.Rule(
        name="memory",
        severity=secret_rule.severity,
        trackers=["execution"],
        when="memfd",
        message="{path}",
    )
    watch.begin(secret_rule, memory)
    flood(loud, secret)
    watch.wait(lambda: watch.of(loud, FLOOD))
    program = "fd = os.memfd_create('x'); os.write(fd, open('/bin/true', 'rb').read())\n"
    pid = watch.act(loud, program + "os.execv(f'/proc/self/fd/{fd}', ['nginx'])")
    watch.wait(lambda: watch.of(loud, "memory"))
    assert [each.pid for each in watch.of(loud, "memory")] == [pid]


def test_a_ring_that_is_filled_tells_what_it_lost_and_goes_on(
    watch: Any, loads: Any, loud: Path, quiet: Path, secret: Path
) -> None:
    watch.begin(rate=0, memory=1)
    flood = loads.start("reads", 50_000, secret, cgroup=loud)

    def sleep() -> None:  # as on a node that has no time for the agent
        loads.go(flood)
        assert flood.wait(timeout=60) == 0

    watch.running.call(sleep)
    pid = watch.read(quiet, secret)
    watch.wait(lambda: watch.of(quiet))
    totals, report = watch.end()

    assert [each.pid for each in watch.of(quiet)] == [pid]
    assert totals.matched == 50_001 == totals.delivered + totals.lost_kernel
    assert totals.lost_kernel > 0
    assert report.alerts == totals.delivered + len(watch.of(loud, FLOOD))
    assert report.dropped == report.alerts - len(watch.told.came)


BOMB = """
def burst(left):
    os.close(os.open(sys.argv[1], os.O_RDONLY))
    left -= 1
    for share in (left // 2, left - left // 2):
        if share and not os.fork():
            burst(share)
            os._exit(0)
    for share in (left // 2, left - left // 2):
        if share:
            os.wait()
burst(int(sys.argv[2]))
"""
PROCESSES = 300


def test_of_a_burst_of_processes_each_is_judged_and_what_is_not_told_is_counted(
    watch: Any, loud: Path, secret: Path
) -> None:
    watch.begin()
    watch.act(loud, BOMB, secret, PROCESSES)
    watch.wait(lambda: watch.running.total("p") == Totals(matched=PROCESSES, delivered=PROCESSES))
    _, report = watch.end()

    told, floods = watch.of(loud), watch.of(loud, FLOOD)
    assert len({each.pid for each in told}) == len(told) >= 50
    assert sum(each.count for each in floods) == 1, "told at the first that is not"
    assert report.alerts == PROCESSES + len(floods)
    assert report.dropped == PROCESSES - len(told)


def test_processes_that_end_at_once_are_all_told(
    watch: Any, loads: Any, quiet: Path, secret: Path
) -> None:
    watch.begin()
    pids: list[int] = []
    for _ in range(40):
        process = loads.start("reads", 1, secret, cgroup=quiet)
        loads.go(process)
        assert process.wait(timeout=10) == 0
        pids.append(process.pid)
    watch.wait(lambda: len(watch.of(quiet)) == 40)
    assert [each.pid for each in watch.of(quiet)] == pids
    assert {(each.comm, each.ancestors[0].pid) for each in watch.of(quiet)} == {
        ("load", os.getpid())
    }
