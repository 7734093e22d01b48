# SPDX-License-Identifier: Apache-2.0
"""What the service manager hears: when all is attached, and when the end begins.

That whoever waits for it misses nothing is what every test holds that starts a command.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.cli import readiness
from eunomia_agent.cli.catalogue import catalogue
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.job import MIB, Use, job
from eunomia_agent.cli.local import Local
from eunomia_agent.cli.stop import Stop
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.metrics.observed import Observed
from eunomia_api import agent_pb2

needs_bpf = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")
Command = Callable[..., Any]


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """The socket of who waits, not bound."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.settimeout(10)
        yield one


@pytest.fixture
def listening(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> socket.socket:
    """The manager of this process."""
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return manager


def local_of(uses: Sequence[Use], **options: Any) -> Local:
    """Jobs of one tracker each, on all of this machine."""
    everything = agent_pb2.Target(everything=True)
    return Local(
        [job([use], everything, buffer=MIB, interval=1) for use in uses],
        lambda _: [],
        catalogue=catalogue(),
        observed=Observed(catalogue().trackers, "node"),
        node="node",
        **options,
    )


def states(manager: socket.socket) -> list[str]:
    """What was told up to now."""
    manager.setblocking(False)
    told = []
    while True:
        try:
            told.append(manager.recv(4096).decode())
        except BlockingIOError:
            return told


@pytest.mark.bpf
@needs_bpf
@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_told_when_a_command_is_ready_and_when_it_ends(
    run: Command, manager: socket.socket, tmp_path: Path, abstract: bool
) -> None:
    place = f"@eunomia-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    manager.bind(place.replace("@", "\0"))
    environment = {**os.environ, "NOTIFY_SOCKET": place}
    done = run("run", "opensnoop", "--prefix", "/nowhere/", "-T", "0.1", env=environment)
    assert (done.code, done.err) == (0, "0 events, 0 lost, 0 limited: 100 % complete\n")
    assert states(manager) == ["READY=1", "STOPPING=1"]


@pytest.mark.bpf
@needs_bpf
async def test_where_no_job_can_run_nothing_is_ready(listening: socket.socket) -> None:
    local = local_of([Use("opensnoop", {}, where="nope")])
    with pytest.raises(CommandError, match='no column "nope"'):
        await local.run(Stop())
    assert states(listening) == []


@pytest.mark.bpf
@needs_bpf
async def test_what_cannot_run_is_told_before_it_is_ready_and_though_it_is_stopped_at_once(
    listening: socket.socket,
) -> None:
    told: list[tuple[list[str], list[str]]] = []

    def look(standing: Standing) -> None:
        wrong = [each.message for each in standing.reports.values() if each.message]
        told.append((wrong, states(listening)))

    uses = [Use("opensnoop", {}, where="nope"), Use("files", {})]
    local = local_of(uses, on_look=look)
    stop = Stop()
    stop.set()
    await local.run(stop)
    ((wrong, before),) = told
    assert ['no column "nope"' in each for each in wrong] == [True]
    assert (before, states(listening)) == ([], ["READY=1", "STOPPING=1"])


@pytest.mark.bpf
@needs_bpf
def test_a_socket_that_is_not_there_is_told_and_ends_nothing(run: Command, tmp_path: Path) -> None:
    place = tmp_path / "none"
    environment = {**os.environ, "NOTIFY_SOCKET": str(place)}
    done = run("run", "opensnoop", "-T", "0.1", env=environment)
    assert done.code == 0
    missing = f"eunomia: NOTIFY_SOCKET={place}: the service manager was not told READY=1"
    assert done.err.splitlines()[:-1] == [f"{missing}: No such file or directory"]
    assert done.last_line.endswith("% complete")


def test_a_manager_that_reads_nothing_holds_it_up_for_a_moment_only(
    manager: socket.socket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "notify"
    manager.bind(str(place))
    monkeypatch.setenv("NOTIFY_SOCKET", str(place))
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.01)
    told = 0
    while not (said := capsys.readouterr().err):
        readiness.tell_ready()
        told += 1
        assert told < 100_000
    why = "the service manager was not told READY=1: timed out"
    assert said == f"eunomia: NOTIFY_SOCKET={place}: {why}\n"
    assert set(states(manager)) == {"READY=1"}
