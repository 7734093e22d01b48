# SPDX-License-Identifier: Apache-2.0
"""Trackers that are detached for a while, and attached again."""

import ctypes
import os
import platform
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.kernel import features
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.limit import Limit
from eunomia_agent.trackers.loading import Node

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
TRACKERS = Catalogue.load().trackers
MS = 1_000_000
POLL = {"x86_64": 7, "aarch64": 73}[platform.machine()]
"""poll(2), or ppoll(2) where there is none."""


@pytest.fixture
def load() -> Iterator[Callable[..., Instance]]:
    """Load and attach a tracker for everything: load(name, key={…}, param=…)."""
    with ExitStack() as stack:

        def start(name: str, key: dict[str, Any] | None = None, **params: object) -> Instance:
            programs = stack.enter_context(Object.open(OBJECTS / "cgroups.bpf.o"))
            programs.load()
            tracker = TRACKERS[name]
            values = {**{each: about.default for each, about in tracker.params.items()}, **params}
            wanted = Key(name, tuple(sorted(values.items())), 16 << 20, **(key or {}))
            instance = Instance.load(OBJECTS, tracker, wanted, Node(programs.map("targets")))
            stack.callback(lambda: instance.retire()())  # noqa: PLW0108  (at the end)
            instance.join(0, Limit(), everywhere=True)
            instance.attach()
            return instance

        yield start


Fork = Callable[[Callable[[], object]], int]


@pytest.fixture
def fork() -> Iterator[Fork]:
    """Run a function in a child, which is gone when the test is; returns its pid."""
    running: list[int] = []

    def start(function: Callable[[], object]) -> int:
        pid = os.fork()
        if not pid:
            try:
                function()
            finally:
                os._exit(0)
        running.append(pid)
        return pid

    yield start
    for pid in running:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def taken(instance: Instance, pid: int | None = None) -> list[dict[str, Any]]:
    """Rows of events and tables, of one process if it is named."""
    rows = []
    for batch in (*instance.drain(), *instance.take()):
        names = batch.fixed.dtype.names
        values = zip(*(batch.fixed[name].tolist() for name in names), strict=True)
        rows += [dict(zip(names, each, strict=True)) for each in values]
    return [row for row in rows if pid is None or row["pid"] == pid]


def test_a_call_that_was_not_seen_to_its_end_lends_its_beginning_to_no_other(
    load: Callable[..., Instance], fork: Fork
) -> None:
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        for _ in range(2):
            ctypes.CDLL(None).syscall(POLL, None, 0, 600, None)

    child = fork(wait)  # first: it would hold the programs where they are
    os.waitpid(child, os.WUNTRACED)
    instance = load("syscall", latency=True)
    os.kill(child, signal.SIGCONT)
    time.sleep(0.2)
    instance.detach()
    time.sleep(0.6)  # within the second call now
    instance.attach()
    taken(instance)
    os.waitpid(child, 0)

    (polled,) = [row for row in taken(instance, child) if row["syscall"] == POLL]
    assert (polled["count"], polled["duration"]) == (1, 0)


def test_what_became_of_a_connection_while_nobody_looked_is_told_of_nobody_else(
    load: Callable[..., Instance],
) -> None:
    instance = load("tcp")
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        end, _ = server.accept()
        assert len(taken(instance)) >= 2
        instance.detach()
        instance.attach()
        time.sleep(0.05)
        client.close()
        end.close()
        closed = [row for row in taken(instance, os.getpid()) if row["duration"]]

    assert closed == [], "when it began is not known any more"


@pytest.mark.skipif("iterator" not in features.probe().names, reason="needs BPF iterators")
def test_what_a_container_used_while_nobody_looked_is_in_no_interval(
    load: Callable[..., Instance], cgroup: Path, fork: Fork
) -> None:
    def burn() -> None:
        (cgroup / "cgroup.procs").write_text("0")
        os.kill(os.getpid(), signal.SIGSTOP)
        while time.process_time() < 0.5:
            pass
        os.kill(os.getpid(), signal.SIGSTOP)

    def told() -> list[int]:
        rows = [row for row in taken(instance) if row["cgroup_id"] == cgroup.stat().st_ino]
        return [row["cpu_user"] + row["cpu_system"] for row in rows if "cpu_user" in row]

    child = fork(burn)
    os.waitpid(child, os.WUNTRACED)
    instance = load("container")
    assert len(told()) == 1
    instance.detach()
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, os.WUNTRACED)
    instance.attach()

    assert sum(told()) < 100 * MS


@pytest.mark.parametrize("children", [False, True])
def test_the_next_process_of_an_id_is_not_taken_for_the_one_before(
    load: Callable[..., Instance], fork: Fork, *, children: bool
) -> None:
    first = fork(signal.pause)
    instance = load("opensnoop", key={"pids": (first,), "children": children})
    instance.detach()
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    second = again(first)
    instance.attach()
    os.kill(second, signal.SIGCONT)
    os.waitpid(second, 0)

    assert taken(instance) == []


def again(pid: int) -> int:
    """Start a process of that id, which stops, and then opens a file."""
    for _ in range(100):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGSTOP)
            os.close(os.open("/dev/null", os.O_RDONLY))
            os._exit(0)
        if child == pid:
            os.waitpid(child, os.WUNTRACED)
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    pytest.skip("needs an id of a process that nobody else takes")
