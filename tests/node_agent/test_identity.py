# SPDX-License-Identifier: Apache-2.0
"""The word that is given to the user, for every tracker, whatever happens:

    matched = delivered + lost + limited + sampled out

under random loads, ring sizes, budgets, samples and conditions, while jobs and containers come and
go, readers pause and agents are restarted. No count ever goes down.
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]

SOME_OF_EVERYTHING = """
import os, signal, socket, sys
count = int(sys.argv[1])
signal.signal(signal.SIGUSR1, lambda *_: None)
server = socket.create_server(("127.0.0.1", 0), backlog=128)
here, there = os.pipe()
left, right = socket.socketpair()
for number in range(count):
    try:
        os.open(f"/none/{number}", os.O_RDONLY)
    except FileNotFoundError:
        pass
    file = os.open("/proc/self/comm", os.O_RDONLY)
    os.read(file, 100)
    os.close(file)
    os.write(there, b"x" * 10)
    os.read(here, 10)
    left.send(b"y" * 20)
    right.recv(20)
    os.kill(os.getpid(), signal.SIGUSR1)
    if number % 20 == 0:
        client = socket.create_connection(server.getsockname())
        end, _ = server.accept()
        client.close()
        end.close()
    if number % 50 == 0:
        if not os.fork():
            os.execv("/bin/true", ["true"])
        os.wait()
"""
KINDS = ("container", "container", "sandbox", "unknown")


class Schedule:
    """What happens, drawn from a seed."""

    def __init__(self, world: Any, tracker: str, seed: int) -> None:
        self.world = world
        self.tracker = tracker
        self.chance = random.Random(seed)
        self.cgroups = [world.cgroup(f"i{number}") for number in range(len(KINDS))]
        self.jobs: dict[str, agent_pb2.Job] = {}
        self.last: dict[str, Totals] = {}

    def step(self, make: Callable[..., agent_pb2.Job]) -> None:
        turns = [self.load] * 4 + [self.change] * 3 + [self.look] * 2
        turns += [self.meet, self.restart, self.halt]
        self.chance.choice(turns)(make)

    def change(self, make: Callable[..., agent_pb2.Job]) -> None:
        uid = self.chance.choice("abc")
        if uid in self.jobs and self.chance.random() < 0.2:
            del self.jobs[uid]
            self.last.pop(uid, None)
            self.world.apply(*self.jobs.values())
            self.world.sinks.pop(uid, None)
        else:
            self.jobs[uid] = self.job(make, uid)
        self.world.apply(*self.jobs.values())

    def job(self, make: Callable[..., agent_pb2.Job], uid: str) -> agent_pb2.Job:
        chance = self.chance
        job = make(
            uid,
            memory=chance.choice([1 << 18, 8 << 20]),
            rate=chance.choice([0, 500, 10**6]),
            interval_ms=chance.choice([1, 1000]),
        )
        where = chance.choice(["", "", 'comm.startsWith("py")', "uid == 0", "uid == 1"])
        columns = {column.name for column in self.world.catalogue.trackers[self.tracker].columns}
        tracker = agent_pb2.Tracker(name=self.tracker, sample=chance.choice([0, 1, 3]))
        if where.split(" ")[0].split(".")[0] in columns:
            tracker.where = where
        job.trackers[0].CopyFrom(tracker)
        return job

    def load(self, _: object) -> None:
        cgroup: Path = self.chance.choice(self.cgroups)

        def enter() -> None:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))

        count = self.chance.choice(["3", "60", "1500"])
        command = [sys.executable, "-S", "-E", "-c", SOME_OF_EVERYTHING, count]
        subprocess.run(command, check=True, preexec_fn=enter)

    def meet(self, _: object) -> None:
        number = self.chance.randrange(len(KINDS))
        self.world.tracing.meet(self.world.owner(self.cgroups[number], KINDS[number]))

    def halt(self, _: object) -> None:
        for job in self.jobs.values():
            job.suspended = not job.suspended
        self.world.apply(*self.jobs.values())

    def restart(self, _: object) -> None:
        totals: dict[str, JobTotals] = dict(self.world.tracing.end().totals)
        self.check(totals, at_rest=True)
        self.world.tracing.shut()
        self.world.begin()
        for number, cgroup in enumerate(self.cgroups):
            self.world.tracing.meet(self.world.owner(cgroup, KINDS[number]))
        self.world.apply(*self.jobs.values(), before=totals)

    def look(self, _: object) -> None:
        self.check(self.world.tracing.tick().totals, at_rest=False)

    def check(self, totals: dict[str, JobTotals], *, at_rest: bool) -> None:
        for uid in self.jobs:
            now = sum(totals[uid].trackers.values(), Totals())
            before = self.last.get(uid, Totals())
            for name in ("matched", "delivered", "lost_kernel", "lost_agent", "limited"):
                assert getattr(now, name) >= getattr(before, name), (uid, name)
            assert now.matched >= now.settled if not at_rest else now.matched == now.settled, uid
            self.last[uid] = now
            if at_rest:
                assert now.delivered == self.arrived(uid), uid

    def arrived(self, uid: str) -> int:
        """How many events the rows stand for that a job's sinks were given."""
        rows = [row for sink in self.world.sinks.get(uid, ()) for row in sink.rows]
        return sum(row["count"] if "source" in row else 1 for row in rows)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("tracker", sorted(Catalogue.load().trackers))
def test_every_event_comes_to_one_end(
    world: Any, job: Callable[..., agent_pb2.Job], tracker: str, seed: int
) -> None:
    schedule = Schedule(world, tracker, seed)
    for cgroup in schedule.cgroups:
        world.tracing.meet(world.owner(cgroup, "pending"))
    for _ in range(20):
        schedule.step(job)

    totals = dict(world.end().totals)

    schedule.check(totals, at_rest=True)
    strangers = {f"pod-{cgroup.name}" for cgroup in schedule.cgroups[2:]}
    for sinks in world.sinks.values():
        assert not {row["pod"] for sink in sinks for row in sink.rows} & strangers
