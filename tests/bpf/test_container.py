# SPDX-License-Identifier: Apache-2.0
"""Containers that start and stop, and what the kernel says that each of them used."""

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.kernel import features

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif("iterator" not in features.probe().names, reason="needs BPF iterators"),
]

libc = ctypes.CDLL(None, use_errno=True)
EMULATED = "EUNOMIA_EMULATED" in os.environ
SLACK = 10 if EMULATED else 1
"""An emulator takes so much longer between two readings."""
MS = 1_000_000
MIB = 1 << 20
CLONE_NEWNET = 0x40000000
V1 = Path("/sys/fs/cgroup")


class Reader:
    """Reads the tracker's rows as the agent does, at the end of an interval."""

    def __init__(self, tracked: Any, hierarchy: Path) -> None:
        self.tracked = tracked
        self.hierarchy = hierarchy
        self()

    def __call__(self) -> list[dict[str, Any]]:
        self.tracked.object.run_iterators(self.hierarchy)
        rows: list[dict[str, Any]] = self.tracked.counts()
        return rows

    def one(self) -> dict[str, Any]:
        rows = self()
        assert len(rows) == 1, rows
        assert rows[0]["count"] == 1
        return rows[0]


def forked(cgroup: Path, function: Callable[[], object]) -> int:
    """Run a function in a child that has joined a cgroup; returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            join(cgroup)
            function()
        finally:
            os._exit(0)
    return pid


class Child:
    """A process in the cgroup that does one thing after the other, each when it is told to."""

    def __init__(self, spawn: Any, *steps: Callable[[], object]) -> None:
        self._here, there = socket.socketpair()
        self.pid: int = spawn(lambda: self._work(there, steps))
        there.close()
        self._here.recv(1)

    def step(self) -> None:
        self._here.send(b".")
        self._here.recv(1)

    def end(self) -> None:
        self._here.close()
        os.waitpid(self.pid, 0)

    def _work(self, told: socket.socket, steps: tuple[Callable[[], object], ...]) -> None:
        self._here.close()
        told.send(b".")
        for step in steps:
            if not told.recv(1):
                return
            step()
            told.send(b".")
        told.recv(1)


@dataclass(frozen=True)
class Controls:
    """The container's cgroup of a controller: a v1 one beside its own, or its own with v2."""

    group: Path
    is_v1: bool

    def limit_memory(self, size: int) -> None:
        name = "memory.limit_in_bytes" if self.is_v1 else "memory.max"
        (self.group / name).write_text(str(size))

    def memory(self) -> int:
        name = "memory.usage_in_bytes" if self.is_v1 else "memory.current"
        return int((self.group / name).read_text())

    def limit_cpu(self, quota: int, period: int) -> None:
        """Both in microseconds."""
        if not self.is_v1:
            (self.group / "cpu.max").write_text(f"{quota} {period}")
            return
        (self.group / "cpu.cfs_period_us").write_text(str(period))
        (self.group / "cpu.cfs_quota_us").write_text(str(quota))

    def throttling(self) -> tuple[int, int, int]:
        """Periods, those that were throttled, nanoseconds."""
        found = stat(self.group)
        time = found["throttled_time"] if self.is_v1 else 1000 * found["throttled_usec"]
        return found["nr_periods"], found["nr_throttled"], time


@pytest.fixture
def controlled(cgroup: Path) -> Iterator[Callable[[str], Controls]]:
    """Have a controller see to the container: controlled("memory")."""
    made: list[Path] = []

    def make(controller: str) -> Controls:
        if (V1 / controller / "cgroup.procs").exists():
            path = V1 / controller / cgroup.name
            path.mkdir()
            made.append(path)
            return Controls(path, is_v1=True)
        if controller not in (cgroup.parent / "cgroup.controllers").read_text().split():
            pytest.skip(f"needs the {controller} controller")
        (cgroup.parent / "cgroup.subtree_control").write_text(f"+{controller}")
        return Controls(cgroup, is_v1=False)

    yield make
    for path in made:
        for _ in range(200):
            try:
                path.rmdir()
            except OSError:
                time.sleep(0.01)
            else:
                break


def join(cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text("0")


def burn(user: float, system: float) -> None:
    """Use CPU time, in seconds by this process's own account, for calculations and for calls."""
    begin = resource.getrusage(resource.RUSAGE_SELF)
    while resource.getrusage(resource.RUSAGE_SELF).ru_utime - begin.ru_utime < user:
        sum(range(20_000))
    while resource.getrusage(resource.RUSAGE_SELF).ru_stime - begin.ru_stime < system:
        os.pread(zero, 1 << 20, 0)


zero = os.open("/dev/zero", os.O_RDONLY)


def stat(cgroup: Path) -> dict[str, int]:
    """Read a file of one name and number a line."""
    lines = (cgroup / "cpu.stat").read_text().splitlines()
    return {name: int(number) for name, number in (line.split() for line in lines)}


def used(cgroup: Path) -> int:
    """CPU time of a cgroup and those below it since it was made, in ns, as the kernel tells."""
    return 1000 * stat(cgroup)["usage_usec"]


# What is used


def test_cpu_time_is_that_of_the_cgroup_in_each_interval(
    track: Any, spawn: Any, cgroup: Path, hierarchy: Path
) -> None:
    read = Reader(track("container"), hierarchy)
    child = Child(spawn, lambda: burn(0.3, 0.3), lambda: burn(0.2, 0.0))

    for user, system in ((300, 300), (200, 0)):
        read()
        before = used(cgroup)
        child.step()
        mine = used(cgroup) - before
        row = read.one()

        assert row["cpu_user"] + row["cpu_system"] == pytest.approx(mine, abs=2 * MS * SLACK)
        assert row["cpu_user"] == pytest.approx(user * MS, abs=60 * MS * SLACK)
        assert row["cpu_system"] == pytest.approx(system * MS, abs=60 * MS * SLACK)
        assert (row["processes"], row["threads"]) == (1, 1)


def test_what_ended_between_two_readings_is_counted_and_a_container_that_is_gone_as_well(
    track: Any, spawn: Any, cgroup: Path, hierarchy: Path
) -> None:
    read = Reader(track("container"), hierarchy)
    child = Child(spawn)
    for _ in range(5):
        os.waitpid(spawn(lambda: burn(0.03, 0.0)), 0)
    before = used(cgroup)

    row = read.one()
    after = used(cgroup)
    told = row["cpu_user"] + row["cpu_system"]
    assert before - 10 * MS * SLACK <= told <= after + 10 * MS * SLACK
    assert before >= 150 * MS

    os.waitpid(spawn(lambda: burn(0.05, 0.0)), 0)
    child.end()
    while (cgroup / "cgroup.procs").read_text():
        time.sleep(0.01)
    ended = used(cgroup)
    cgroup.rmdir()

    row = read.one()
    told = row["cpu_user"] + row["cpu_system"]
    assert told == pytest.approx(ended - after, abs=10 * MS * SLACK)
    assert told >= 50 * MS
    assert (row["processes"], row["threads"]) == (0, 0)
    assert read() == []
    assert list(read.tracked.object.map("containers").items()) == []


def test_memory_and_its_limit_are_those_of_the_memory_cgroup(
    track: Any, spawn: Any, hierarchy: Path, controlled: Callable[[str], Controls]
) -> None:
    memory = controlled("memory")
    read = Reader(track("container"), hierarchy)
    kept: list[bytes] = []
    child = Child(spawn, lambda: join(memory.group), lambda: kept.append(b"x" * (48 * MIB)))
    child.step()

    row = read.one()
    assert row["memory"] < 16 * MIB
    assert row["memory_limit"] == 0

    memory.limit_memory(256 * MIB)
    child.step()
    row = read.one()
    assert row["memory"] == pytest.approx(memory.memory(), abs=MIB // 2)
    assert 48 * MIB < row["memory"] < 64 * MIB
    assert row["memory_limit"] == 256 * MIB


def test_throttling_is_that_of_the_cpu_cgroup(
    track: Any, spawn: Any, hierarchy: Path, controlled: Callable[[str], Controls]
) -> None:
    cpu = controlled("cpu")
    cpu.limit_cpu(2000, 20_000)
    read = Reader(track("container"), hierarchy)
    child = Child(spawn, lambda: join(cpu.group), lambda: burn(0.04, 0.0))
    child.step()
    read()
    before = cpu.throttling()
    child.step()
    after = cpu.throttling()

    row = read.one()
    told = (row["periods"], row["throttled_periods"], row["throttled_time"])
    expected = [now - then for now, then in zip(after, before, strict=True)]
    assert told[:2] == pytest.approx(expected[:2], abs=3)
    more = 20 * MS * SLACK  # one that has begun meanwhile
    assert told[2] == pytest.approx(expected[2], abs=more)
    assert row["throttled_periods"] >= 3
    assert row["throttled_time"] > 30 * MS


def test_block_io_is_counted_by_the_byte(
    track: Any, spawn: Any, hierarchy: Path, tmp_path: Path
) -> None:
    size, times = 65536, 32
    path = tmp_path / "data"
    buffer = mmap.mmap(-1, size)
    read = Reader(track("container"), hierarchy)

    def write() -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        os.posix_fallocate(file, 0, size * times)
        for turn in range(times):
            os.pwrite(file, buffer, turn * size)

    def read_back() -> None:
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        for turn in range(times // 2):
            os.preadv(file, [buffer], turn * size)

    child = Child(spawn, write, read_back)
    read()
    child.step()
    row = read.one()
    if not row["writes"]:
        pytest.skip("needs a temporary folder on a block device")
    of_file_system = 128 * 1024  # at most: what it writes and looks up beside the data
    assert 0 <= row["write_bytes"] - size * times < of_file_system
    assert times <= row["writes"] <= 2 * times
    assert row["read_bytes"] < of_file_system

    child.step()
    row = read.one()
    assert 0 <= row["read_bytes"] - size * times // 2 < of_file_system
    assert times // 2 <= row["reads"] <= 2 * times
    assert row["write_bytes"] < of_file_system


def send(datagrams: int, size: int) -> None:
    """Send datagrams to oneself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        for _ in range(datagrams):
            one.sendto(bytes(size), one.getsockname())
            one.recv(size)


def own_network() -> None:
    assert libc.unshare(CLONE_NEWNET) == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        libc.ioctl(one.fileno(), 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS: IFF_UP


def test_traffic_is_that_of_the_network_namespace_and_the_hosts_is_nobodys(
    track: Any, spawn: Any, hierarchy: Path
) -> None:
    headers = 28  # IPv4 and UDP
    read = Reader(track("container"), hierarchy)
    child = Child(
        spawn, lambda: send(10, 100), own_network, lambda: send(300, 1000), lambda: send(7, 50)
    )
    child.step()
    row = read.one()
    assert (row["rx_bytes"], row["tx_bytes"]) == (0, 0)

    child.step()
    row = read.one()  # the namespace is new to the tracker: it counts from here
    assert (row["rx_bytes"], row["tx_bytes"]) == (0, 0)

    child.step()
    row = read.one()
    assert (row["rx_bytes"], row["tx_bytes"]) == (300 * (1000 + headers),) * 2

    child.step()
    child.end()
    row = read.one()
    assert (row["rx_bytes"], row["tx_bytes"]) == (7 * (50 + headers),) * 2


def test_processes_and_threads_are_counted_and_zombies_are_not(
    track: Any, spawn: Any, hierarchy: Path
) -> None:
    read = Reader(track("container"), hierarchy)
    program = (
        "import threading, time, os\n"
        "for _ in range(6): threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "if os.fork() == 0: os._exit(0)\n"
        "time.sleep(0.1); print(flush=True); time.sleep(60)"
    )
    told, tell = os.pipe()

    def run() -> None:
        os.dup2(tell, 1)
        os.execv(sys.executable, [sys.executable, "-I", "-W", "ignore", "-c", program])

    pid = spawn(run)
    os.read(told, 1)

    row = read.one()
    assert (row["processes"], row["threads"]) == (1, 7)
    os.kill(pid, signal.SIGKILL)


def test_cgroups_in_a_container_are_part_of_it(
    track: Any,
    spawn: Any,
    cgroup: Path,
    make_cgroup: Callable[..., Path],
    hierarchy: Path,
) -> None:
    tracked = track("container")
    inner = make_cgroup("inner", cgroup)
    tracked.target(inner)
    read = Reader(tracked, hierarchy)
    child = Child(spawn, lambda: burn(0.05, 0.0))
    inside = Child(spawn, lambda: join(inner), lambda: burn(0.1, 0.0))
    inside.step()
    read()
    before = used(cgroup)
    child.step()
    inside.step()
    both = used(cgroup) - before

    row = read.one()
    assert row["cgroup_id"] == cgroup.stat().st_ino
    assert row["cpu_user"] + row["cpu_system"] == pytest.approx(both, abs=2 * MS * SLACK)
    assert both >= 150 * MS
    assert (row["processes"], row["threads"]) == (2, 2)
    inside.end()
    child.end()
    assert [row["processes"] for row in read()] in ([], [0])
    assert tracked.account(cgroup).lost == 0


def test_a_container_that_was_no_target_for_a_while_counts_from_when_it_is_one_again(
    track: Any, spawn: Any, cgroup: Path, hierarchy: Path
) -> None:
    tracked = track("container")
    read = Reader(tracked, hierarchy)
    child = Child(spawn, lambda: burn(0.1, 0.0), lambda: burn(0.05, 0.0))
    assert len(read()) == 1
    tracked.target(cgroup, jobs=0)
    child.step()
    assert [read(), read()] == [[], []]
    tracked.target(cgroup)
    assert read() == []
    before = used(cgroup)
    child.step()
    again = used(cgroup) - before
    row = read.one()
    assert row["cpu_user"] + row["cpu_system"] == pytest.approx(again, abs=2 * MS * SLACK)
    assert again >= 50 * MS


def test_a_full_table_says_how_many_rows_it_turned_away(
    track: Any, spawn: Any, cgroup: Path, make_cgroup: Callable[..., Path], hierarchy: Path
) -> None:
    tracked = track("container", entries=1)
    other = make_cgroup("other")
    tracked.target(other)
    read = Reader(tracked, hierarchy)
    Child(spawn)
    Child(spawn, lambda: join(other)).step()
    read()

    rows = read()
    accounts = [tracked.account(each) for each in (cgroup, other)]
    assert len(rows) == 1
    assert sum(account.lost for account in accounts) >= 1


# What happens


def events(tracked: Any, *columns: str) -> list[tuple[str, ...]]:
    rows = tracked.rows()
    return list(zip(*(rows.text(name) for name in ("kind", *columns)), strict=True))


def test_a_container_starts_with_its_first_program_and_stops_with_its_last_process(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    tracked = track("container")
    script = "/bin/true; (/bin/true; sleep 0.2) & exit 3"
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    pid = spawn(lambda: os.execv("/bin/sh", ["sh", "-c", script]))
    os.waitpid(pid, 0)
    assert events(tracked, "comm", "filename") == [("start", "sh", "/bin/sh")]

    while (cgroup / "cgroup.procs").read_text():
        time.sleep(0.01)
    ended = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    rows = tracked.rows()
    assert rows.text("kind") == ["stop"]
    assert rows.fixed["pid"].tolist() == [pid]
    assert (rows.text("exit_code"), rows.text("signal"), rows.text("comm")) == (["3"], [""], ["sh"])
    assert 150 * MS < rows.fixed["duration"][0] < ended - began
    assert rows.fixed["duration"][0] == rows.fixed["time"][0] - rows.fixed["start_time"][0]
    assert tracked.account(cgroup).matched == 2

    os.waitpid(spawn(lambda: os.execv("/bin/sh", ["sh", "-c", "kill -9 $$"])), 0)
    assert events(tracked, "exit_code", "signal") == [("start", "0", ""), ("stop", "0", "SIGKILL")]


def test_what_never_executes_a_program_neither_starts_nor_stops(track: Any, spawn: Any) -> None:
    tracked = track("container")
    os.waitpid(spawn(lambda: None), 0)

    assert events(tracked) == []


def test_of_a_container_that_ran_before_the_tracker_the_stop_is_told(
    track: Any, spawn: Any
) -> None:
    go, wait = os.pipe()

    def init() -> None:
        os.close(wait)
        assert libc.unshare(0x20000000) == 0  # CLONE_NEWPID
        if os.fork() == 0:
            os.read(go, 1)
            os._exit(5)
        os._exit(0)

    os.waitpid(spawn(init), 0)
    tracked = track("container")
    os.close(wait)
    time.sleep(0.1)

    assert events(tracked, "exit_code") == [("stop", "5")]


def test_a_cgroup_that_only_holds_others_is_no_container_when_everything_is_watched(
    track: Any, cgroup: Path, make_cgroup: Callable[..., Path], hierarchy: Path
) -> None:
    inner = make_cgroup("inner", cgroup)
    spare = Child(partial(forked, inner))
    tracked = track("container")
    tracked.agent_wide.map("targets").delete(struct.pack("=Q", cgroup.stat().st_ino))
    tracked.object.map("instance").update(bytes(4), struct.pack("=2Q192Q", 1, 1, *[0] * 192))
    read = Reader(tracked, hierarchy)

    ids = {path.stat().st_ino: path.name for path in (cgroup, inner, hierarchy)}
    assert [ids[row["cgroup_id"]] for row in read() if row["cgroup_id"] in ids] == [inner.name]
    spare.end()
    os.waitpid(forked(inner, lambda: os.execv("/bin/true", ["true"])), 0)
    while (inner / "cgroup.procs").read_text():
        time.sleep(0.01)
    rows = tracked.rows()
    told = zip(rows.text("kind"), rows.fixed["cgroup_id"].tolist(), strict=True)
    assert [kind for kind, cgroup_id in told if ids.get(cgroup_id) == inner.name] == [
        "stop",
        "start",
        "stop",
    ]
    assert not ids.keys() - {inner.stat().st_ino} & {*rows.fixed["cgroup_id"].tolist()}


def test_a_storm_of_short_containers_is_complete(
    track: Any, make_cgroup: Callable[..., Path], hierarchy: Path
) -> None:
    tracked = track("container")
    read = Reader(tracked, hierarchy)
    times = 50
    for turn in range(times):
        group = make_cgroup(f"short-{turn}")
        tracked.target(group)
        os.waitpid(forked(group, lambda: os.execv("/bin/true", ["true"])), 0)
        while (group / "cgroup.procs").read_text():
            time.sleep(0.001)
        group.rmdir()

    assert sorted(events(tracked)) == sorted([("start",), ("stop",)] * times)
    rows = read()
    assert len(rows) == times
    assert all(row["cpu_user"] + row["cpu_system"] > 0 for row in rows)
    assert read() == []


def test_out_of_memory_names_the_victim_and_its_limit(
    track: Any, spawn: Any, cgroup: Path, controlled: Callable[[str], Controls]
) -> None:
    memory = controlled("memory")
    memory.limit_memory(16 * MIB)
    tracked = track("container")

    def devour() -> None:
        join(memory.group)
        print(len(b"x" * (64 * MIB)))

    pid = spawn(devour)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL

    rows = tracked.rows()
    assert rows.text("kind") == ["oom"]
    assert rows.fixed["pid"].tolist() == [pid]
    assert rows.fixed["cgroup_id"].tolist() == [cgroup.stat().st_ino]
    assert rows.fixed["memory_limit"].tolist() == [16 * MIB]
    assert 15 * MIB < rows.fixed["memory"][0] <= 16 * MIB


def test_params_choose_between_events_and_counts(track: Any, spawn: Any, hierarchy: Path) -> None:
    def run() -> None:
        os.waitpid(spawn(lambda: os.execv("/bin/true", ["true"])), 0)

    silent = track("container", lifecycle=False)
    read = Reader(silent, hierarchy)
    run()
    assert events(silent) == []
    assert len(read()) == 1

    tracked = track("container", usage=False, without=["iter/cgroup", "tp_btf/block_bio_queue"])
    run()
    assert events(tracked) == [("start",), ("stop",)]
    assert Reader(tracked, hierarchy)() == []


# What it costs


@pytest.mark.skipif(EMULATED, reason="what something costs in an emulator says nothing")
def test_a_reading_costs_microseconds_a_cgroup_and_less_a_thread(
    track: Any, spawn: Any, cgroup: Path, make_cgroup: Callable[..., Path], hierarchy: Path
) -> None:
    tracked = track("container")
    read = Reader(tracked, hierarchy)
    others = [make_cgroup(f"idle-{turn}") for turn in range(200)]

    def seconds() -> float:
        begin = time.thread_time()
        tracked.object.run_iterators(hierarchy)
        return time.thread_time() - begin

    nobodys = min(seconds() for _ in range(5))
    for each in others:
        tracked.target(each)
    read()
    watched = min(seconds() for _ in range(5))
    assert nobodys / len(others) < 20e-6
    assert watched / len(others) < 100e-6
    children = [Child(spawn) for _ in range(50)]
    crowded = min(seconds() for _ in range(5))
    print(f"\n{nobodys * 1e6:.0f} us, {watched * 1e6:.0f} us, {crowded * 1e6:.0f} us")
    assert (crowded - watched) / len(children) < 10e-6
    assert tracked.account(cgroup).lost == 0
