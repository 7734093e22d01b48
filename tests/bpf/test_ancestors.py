# SPDX-License-Identifier: Apache-2.0
"""Who began a process that broke a rule: the kernel tells it with the row, the alert as well."""

import ctypes
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.rules.guard import Guard
from eunomia_agent.rules.replay import Kept
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

pytestmark = pytest.mark.bpf

TRACKERS = Catalogue.load().trackers
OWNER = Owner(7, "container", "shop", "web-0", "uid-7", "nginx", "1b" * 32)
MOST = 6
Line = list[tuple[int, str]]
CLONE3 = 435
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
DROP = struct.pack("=HBBI", 6, 0, 0, 0)
"""A filter of one instruction, BPF_RET, that keeps nothing of a packet."""


def line_of(pid: int) -> Line:
    """A process and its ancestors, as /proc has them: their numbers and names."""
    found: Line = []
    while pid and len(found) < MOST:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        found.append((pid, fields["Name"]))
        pid = int(fields["PPid"])
    return found


def alerts(tracked: Any, tracker: str, when: str, what: str = "kind") -> list[tuple[str, Line]]:
    """What a rule tells of all rows: of each alert its message and the ancestors."""
    rule = agent_pb2.Rule(
        name="r",
        severity=agent_pb2.SEVERITY_ALERT,
        trackers=[tracker],
        when=when,
        message=f"{{comm}} {{{what}}}",
    )
    kept = Kept()
    guard = Guard(agent_pb2.Job(uid="p", rules=[rule]), TRACKERS, kept)
    guard.write(Rows(tracked.rows(), OWNER, tracker, node="n"))
    return [
        (alert.message, [(each.pid, each.comm) for each in alert.ancestors])
        for alert in kept.alerts
    ]


def fork_as(pid: int) -> int:
    """Fork a process that has this number, which nobody has, and waits: clone3(2), set_tid."""
    numbers = (ctypes.c_int * 1)(pid)
    fields = [0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(numbers), 1, 0]
    arguments = struct.pack("=11Q", *fields)
    found: int = ctypes.PyDLL(None).syscall(CLONE3, arguments, ctypes.c_size_t(len(arguments)))
    if found == 0:
        signal.pause()
        os._exit(0)
    return found


def is_asleep(pid: int) -> bool:
    """Whether it waits for an answer, and for nothing else: the name is the child's last step."""
    comm, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return comm.endswith("(caller") and rest.split()[0] == "S"


@pytest.fixture
def server() -> Any:
    """A socket that listens, of a process that nobody watches: this one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def named(name: str, function: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        Path("/proc/self/comm").write_text(name)
        function()

    return run


def test_who_connects_is_told_with_its_ancestors_though_another_task_is_there_when_it_has(
    track: Any, spawn: Any, server: socket.socket
) -> None:
    """The first SYN is dropped; a timer sends the second one, and a softirq takes the answer."""
    code = ctypes.create_string_buffer(DROP)
    program = struct.pack("@HP", 1, ctypes.addressof(code))
    server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def connect() -> None:
        socket.create_connection(server.getsockname())

    tracked = track("tcp", closes=False)
    caller = spawn(named("caller", connect))
    while not is_asleep(caller):
        time.sleep(0.01)
    server.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    os.waitpid(caller, 0)

    assert alerts(tracked, "tcp", "retransmits > 0") == [("caller connect", line_of(os.getpid()))]


def test_who_is_refused_listens_and_accepts_is_told_with_its_ancestors(
    track: Any, spawn: Any
) -> None:
    def serve() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
            caller.connect(listener.getsockname())
            listener.accept()[0].close()
        with socket.socket() as caller:
            caller.connect_ex(listener_port)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listener_port = free.getsockname()
    tracked = track("tcp", closes=False)
    os.waitpid(spawn(named("server", serve)), 0)

    found = alerts(tracked, "tcp", 'kind != "connect" || error == "ECONNREFUSED"')
    line = line_of(os.getpid())
    assert found == [(f"server {kind}", line) for kind in ("listen", "accept", "connect")]


@pytest.mark.parametrize("reused", [False, True])
def test_a_connection_that_outlives_its_process_has_that_name_and_no_ancestors(
    track: Any, spawn: Any, server: socket.socket, reused: bool
) -> None:
    """Nor has it those of another process that has the same number by now."""
    waits, go_on = os.pipe()

    def hand_on() -> None:
        stream = socket.create_connection(server.getsockname())
        if os.fork() == 0:
            os.read(waits, 1)
            stream.close()

    tracked = track("tcp", connects=False)
    caller = spawn(named("caller", hand_on))
    os.waitpid(caller, 0)
    stream, _ = server.accept()
    assert not reused or fork_as(caller) == caller
    os.write(go_on, b"x")
    assert stream.recv(1) == b""
    stream.close()

    assert alerts(tracked, "tcp", 'kind == "close"') == [("caller close", [])]


def test_who_sends_a_signal_and_who_gets_one_are_told_each_with_its_own_ancestors(
    track: Any, spawn: Any, make_cgroup: Callable[..., Path]
) -> None:
    elsewhere = make_cgroup("elsewhere")
    tracked = track("ipc")
    tracked.target(elsewhere)
    there, is_there = os.pipe()

    def receive() -> None:
        os.write(is_there, b"x")
        signal.pause()

    receiver = spawn(named("receiver", receive), into=elsewhere)
    os.read(there, 1)

    def send() -> None:
        if sender := os.fork():
            os.waitpid(sender, 0)
        else:
            Path("/proc/self/comm").write_text("inner")
            os.kill(receiver, signal.SIGUSR1)

    outer = spawn(named("outer", send))
    os.waitpid(outer, 0)
    os.waitpid(receiver, 0)

    found = dict(alerts(tracked, "ipc", 'signal == "SIGUSR1"', "action"))
    line = line_of(os.getpid())
    assert found["inner send"] == [(outer, "outer"), *line][:MOST]
    assert found["receiver receive"] == line


def test_programs_that_start_and_processes_that_end_and_begin_are_told_with_their_ancestors(
    track: Any, spawn: Any
) -> None:
    tracked = track("process", forks=True)
    shell = spawn(lambda: os.execv("/bin/sh", ["sh", "-c", "/bin/true; exit 0"]))
    os.waitpid(shell, 0)

    found = alerts(tracked, "process", 'comm == "true" || kind == "fork"')
    line = [(shell, "sh"), *line_of(os.getpid())][:MOST]
    assert found == [("sh fork", line), ("true exec", line), ("true exit", line)]


@pytest.mark.parametrize("tracker", ["tcp", "ipc", "process"])
def test_who_asks_for_no_ancestors_gets_rows_without(
    track: Any, spawn: Any, server: socket.socket, tracker: str
) -> None:
    def act() -> None:
        socket.create_connection(server.getsockname()).close()
        os.kill(os.getpid(), 0 if tracker != "ipc" else signal.SIGCHLD)

    tracked = track(tracker, ancestors=False)
    os.waitpid(spawn(act), 0)

    rows = tracked.rows()
    assert len(rows) > 0
    assert set(rows.json("ancestors")) == {"[]"}
    assert set(rows.json("ancestor_pids")) == {"[0,0,0,0,0,0]"}
