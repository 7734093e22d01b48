# SPDX-License-Identifier: Apache-2.0
"""Attempts of a container to hide what it does, or what others do, from the rules of a policy."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.alerts import Spool
from eunomia_agent.containers.owner import Owner
from eunomia_agent.guards import Guards
from eunomia_agent.metrics.security import Security
from eunomia_agent.rules.guard import FLOOD
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
BUDGET = 20_000
"""Events a second and node, as a policy has it that does not say."""


def rule(name: str, when: str, tracker: str = "access", **fields: Any) -> agent_pb2.Rule:
    return agent_pb2.Rule(
        name=name,
        severity=agent_pb2.SEVERITY_ALERT,
        trackers=[tracker],
        when=when,
        message=fields.pop("message", "{comm} opened {path}"),
        **fields,
    )


SECRET = rule("secret", 'kind == "open" && path.endsWith("/secret")')


class Told:
    """Puts alerts into the spool, and takes down when each came."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.came: list[tuple[float, agent_pb2.Alert]] = []

    def put(self, alert: agent_pb2.Alert) -> bool:
        room = self.spool.put(alert)
        if room:
            self.came.append((time.time(), alert))
        return room


class Watch:
    """A policy on this machine, and containers that it watches: cgroups, with owners."""

    def __init__(self, machine: Any, job: Any, folder: Path, containers: Sequence[Path]) -> None:
        self.told = Told(Spool(folder))
        self._machine, self._job = machine, job
        self._containers = containers
        self.guards = Guards(Catalogue.load().trackers, self.told, Security("n1"))

    def begin(self, *rules: agent_pb2.Rule, rate: int = BUDGET, **fields: Any) -> None:
        trackers = sorted({name for each in rules for name in each.trackers})
        wanted = self._job(
            "p",
            trackers=[agent_pb2.Tracker(name=name) for name in trackers],
            cgroups=self._containers,
            rules=rules,
            rate=rate,
            **fields,
        )
        self.running = self._machine(wanted, sinks=lambda job: [self.guards.guard(job)])
        self.tracing = self.running._local._tracing
        self.guards.jobs = self.tracing.jobs
        for each in self._containers:
            self.running.call(lambda each=each: self.tracing.meet(owner(each)))

    def of(self, container: Path, name: str = "secret") -> list[agent_pb2.Alert]:
        """Alerts of a rule about a container."""
        return [
            each for _, each in self.told.came if each.pod == container.name and each.rule == name
        ]

    def wait(self, until: Callable[[], object]) -> None:
        self.running.wait(until, seconds=30)

    def end(self) -> tuple[Totals, agent_pb2.PolicyReport]:
        """Stop; return what came of it."""
        found = self.running.end().totals["p"]
        return (
            sum(found.trackers.values(), Totals()),
            agent_pb2.PolicyReport.FromString(found.policy),
        )


def owner(cgroup: Path) -> Owner:
    number = cgroup.stat().st_ino
    return Owner(
        *(number, "container", "shop", cgroup.name, f"uid-{cgroup.name}", "main", f"{number:064x}"),
        path=f"/{cgroup.name}",
    )


@pytest.fixture
def loud(make_cgroup: Any) -> Path:
    return make_cgroup("loud")


@pytest.fixture
def quiet(make_cgroup: Any) -> Path:
    return make_cgroup("quiet")


@pytest.fixture
def watch(machine: Any, job: Any, tmp_path: Path, loud: Path, quiet: Path) -> Iterator[Watch]:
    folder = tmp_path / "state"
    folder.mkdir()
    watch = Watch(machine, job, folder, [loud, quiet])
    yield watch
    watch.told.spool.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("x")
    return path


def enter(cgroup: Path) -> Callable[[], None]:
    return lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())) and None


def do(cgroup: Path, code: str, *arguments: object) -> int:
    """Run some Python inside a cgroup; return its process."""
    words = [os.fsencode(str(each)) if not isinstance(each, bytes) else each for each in arguments]
    command = [sys.executable, "-S", "-E", "-c", f"import os, sys\n{code}", *words]
    process = subprocess.Popen(command, preexec_fn=enter(cgroup))  # noqa: PLW1509
    assert process.wait(timeout=60) == 0
    return process.pid


READ = "os.close(os.open(sys.argv[1], os.O_RDONLY))"


def test_a_flood_from_one_container_hides_no_alert_of_another_and_is_told(
    watch: Watch, loads: Any, loud: Path, quiet: Path, secret: Path
) -> None:
    watch.begin(SECRET)
    flood = loads.start("reads", 10**9, secret, cgroup=loud)
    loads.go(flood)
    watch.wait(lambda: watch.running.total("p").limited)
    for _ in range(10):
        do(quiet, READ, secret)
    assert flood.poll() is None, "the other container was busy all the time"
    flood.kill()
    watch.wait(lambda: len(watch.of(quiet)) == 10)
    totals, report = watch.end()

    late = [at - each.time_ns / 1e9 for at, each in watch.told.came if each.pod == quiet.name]
    assert statistics.median(late) < 1, late
    assert totals.matched == totals.settled > 100_000
    assert totals.limited > totals.delivered > 0
    floods = watch.of(loud, FLOOD)
    assert "come faster than 5 a second" in floods[0].message
    assert report.alerts == totals.delivered + len(floods)
    assert report.dropped == report.alerts - len(watch.told.came) > 0
