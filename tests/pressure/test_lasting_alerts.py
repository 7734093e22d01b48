# SPDX-License-Identifier: Apache-2.0
"""Alerts outlast the agent and the room on the disk, each once; what does not is told."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from eunomia_agent.link.spool import Spool
from eunomia_agent.silence import Moment
from eunomia_agent.state import Desired, Store
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]


A = Callable[..., Any]
READ = ["/bin/sh", "-c", "echo $$ >$0/cgroup.procs && exec 3<$1"]
"""A process that enters a cgroup, and opens a file there."""


def kept(folder: Path) -> list[agent_pb2.Alert]:
    """The alerts in a folder, as another agent would find them there."""
    with TemporaryDirectory() as copy:
        with suppress(FileNotFoundError):
            shutil.copy(folder / "alerts", copy)
        spool = Spool(Path(copy))
        found = spool.after(0)
        spool.close()
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_told_and_costs_no_alert_and_a_full_spool_is_told_and_counted(
    watch: Any, quiet: Path, secret: Path, small_disk: Path
) -> None:
    spool = watch.told.spool = Spool(small_disk)
    watch.begin()
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize)
    for count in range(1, 50):
        watch.read(quiet, secret)
        watch.wait(lambda: len(spool) == count)  # noqa: B023
        if spool.problem:
            break
    assert spool.problem == "alerts: No space left on device"
    spool.sync()
    assert spool.problem == "alerts: No space left on device"
    assert {each.name for each in small_disk.iterdir()} == {"alerts", "filler"}
    filler.unlink()
    spool.sync()
    assert spool.problem is None
    assert [each.id for each in kept(small_disk)] == [each.id for _, each in watch.told.came]

    while spool.put(agent_pb2.Alert(container_id=str(len(spool)))):
        continue
    watch.read(quiet, secret)
    watch.wait(lambda: watch.running.standing.reports["p"].policy.dropped == 1)
    degraded = watch.running.standing.reports["p"].degraded
    assert degraded == "rules: alerts find no room: they are counted and not told"
    assert watch.end()[1].alerts == len(watch.told.came) + 1


class Node:
    """An agent that may kill for a rule, and whose operator does not answer."""

    def __init__(self, start: A, job: A, rule: agent_pb2.Rule, cgroup: Path, folder: Path) -> None:
        self._start, self._cgroup, self._folder = start, cgroup, folder
        self.store = Store(folder)
        self.secret = folder / "secret"
        self.secret.write_text("x")
        access = agent_pb2.Tracker(name="access")
        parts = {"rules": [rule], "cgroups": [cgroup], "rate": 20_000}
        killer = job(
            "p/kill/secret",
            trackers=[access],
            enforcement=agent_pb2.ENFORCEMENT_KILL,
            respond_ms=3_600_000,
            **parts,
        )
        watcher = job("p", trackers=[access], **parts)
        self.watching = agent_pb2.DesiredState(generation=1, jobs=[watcher])
        self.killing = agent_pb2.DesiredState(generation=1, jobs=[watcher, killer])

    def start(self, state: agent_pb2.DesiredState, silent: float = 0) -> None:
        """Start an agent. silent: seconds since the operator's last word."""
        self.store.save_desired(Desired(state, "uid", Moment(time.time() - silent)))
        count = len(self.alerts())
        self._process = self._start()
        self.wait(lambda: [self.read(), time.sleep(0.3)] and len(self.alerts()) > count)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def read(self) -> int:
        """Open the file; return how the process that did ends."""
        return subprocess.run([*READ, self._cgroup, self.secret], check=False).returncode

    def alerts(self) -> list[agent_pb2.Alert]:
        return kept(self._folder)

    def reported(self, uid: str = "p") -> agent_pb2.PolicyReport:
        totals = self.store.load_totals().get(uid)
        return agent_pb2.PolicyReport.FromString(totals.policy if totals else b"")

    def wait(self, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not until():
            assert self._process.poll() is None
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.1)


@pytest.fixture
def node(agent: A, job: A, secret_rule: agent_pb2.Rule, quiet: Path, tmp_path: Path) -> Node:
    return Node(agent, job, secret_rule, quiet, tmp_path)


def test_an_agent_that_is_killed_in_a_flood_goes_on_with_its_alerts_and_counts(
    node: Node, flood: A, quiet: Path
) -> None:
    node.start(node.watching)
    node.wait(lambda: node.reported().alerts)
    noise = flood(quiet, node.secret)
    node.wait(lambda: len(node.alerts()) >= 40)
    node.kill()
    noise.kill()
    noise.wait()
    before, counted = node.alerts(), node.reported()
    assert counted.alerts > 0

    node.start(node.watching)
    node.read()
    count = len(before) + 2
    node.wait(lambda: len(node.alerts()) >= count)
    after = node.alerts()
    assert after[: len(before)] == before
    assert len({each.id for each in after}) == len(after)
    sequences = [each.sequence for each in after]
    assert sequences == sorted(set(sequences))
    node.wait(lambda: node.reported().alerts == counted.alerts + len(after) - len(before))
    assert node.reported().dropped == counted.dropped


def test_without_the_operator_killing_ends_first_and_telling_goes_on(node: Node) -> None:
    node.start(node.killing)
    node.wait(lambda: node.read() == -signal.SIGKILL)
    node.wait(lambda: node.reported("p/kill/secret").killed)
    node.kill()
    node.start(node.killing, silent=3601)
    count = len(node.alerts())
    assert node.read() == 0
    node.wait(lambda: len(node.alerts()) > count)
    assert node.alerts()[-1].response == ""
    assert "Killed" in [each.response for each in node.alerts()]
    killed = node.reported("p/kill/secret").killed
    assert node.read() == 0
    node.wait(lambda: len(node.alerts()) > count + 1)
    assert node.reported("p/kill/secret").killed == killed
