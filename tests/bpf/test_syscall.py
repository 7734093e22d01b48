# SPDX-License-Identifier: Apache-2.0
"""System calls in a cgroup, counted: exactly those that were made."""

import ctypes
import errno
import os
import platform
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)
BEGINS = "tp_btf/sys_enter"
NUMBERS = {
    "x86_64": {"getppid": 110, "getpgid": 121, "close": 3, "sigreturn": 15, "sleep": 230},
    "aarch64": {"getppid": 173, "getpgid": 155, "close": 57, "sigreturn": 139, "sleep": 115},
}
NUMBER = NUMBERS[platform.machine()]
FORKS = {"x86_64": {56, 57, 58, 435}, "aarch64": {220, 435}}[platform.machine()]
NOBODY = 2**30
SOCKETCALL, SYS_BIND, IPC, SEMGET = 102, 2, 117, 2
"""Calls of 32-bit programs that stand for many, by their first argument."""


def call(name: str, times: int, *arguments: int) -> None:
    for _ in range(times):
        libc.syscall(NUMBER[name], *arguments)


def run(spawn: Any, function: Callable[[], object]) -> int:
    pid: int = spawn(function)
    os.waitpid(pid, 0)
    return pid


def of(rows: list[dict[str, Any]], name: str, *columns: str) -> list[tuple[Any, ...]]:
    found = (row for row in rows if row["syscall"] == NUMBER[name])
    return sorted(tuple(row[column] for column in columns) for row in found)


def test_each_call_is_counted_once_by_process_and_number(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    tracked = track("syscall", without=[BEGINS])

    def calls() -> None:
        call("getppid", 1000)
        call("close", 7, NOBODY)

    pids = sorted(run(spawn, calls) for _ in range(2))
    rows = tracked.counts()

    assert of(rows, "getppid", "pid", "count", "errors") == [(pid, 1000, 0) for pid in pids]
    assert of(rows, "close", "pid", "count", "errors") == [(pid, 7, 7) for pid in pids]
    assert {row["cgroup_id"] for row in rows} == {cgroup.stat().st_ino}
    assert {row["comm"].decode() for row in rows} == {Path("/proc/self/comm").read_text().strip()}
    assert {row["duration"] for row in rows} == {0}
    assert tracked.counts() == []
    assert tracked.account(cgroup).lost == 0
    assert tracked.object.misses() == 0


def test_threads_of_a_process_are_counted_as_one(track: Any, spawn: Any) -> None:
    tracked = track("syscall", without=[BEGINS])

    def calls() -> None:
        threads = [threading.Thread(target=call, args=("getppid", 5000)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    pid = run(spawn, calls)

    assert of(tracked.counts(), "getppid", "pid", "count") == [(pid, 20_000)]


def test_the_end_of_a_fork_in_the_child_is_no_call_of_the_child(track: Any, spawn: Any) -> None:
    tracked = track("syscall", without=[BEGINS])

    def forks() -> None:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)

    pid = run(spawn, forks)
    counted = [(row["pid"], row["count"]) for row in tracked.counts() if row["syscall"] in FORKS]

    assert counted == [(pid, 5)]


@pytest.mark.parametrize(
    ("params", "seen"),
    [
        ({"failed_only": True}, {"close": 3, "getpgid": 4}),
        ({"error": errno.EBADF}, {"close": 3}),
        ({"error": errno.EPERM}, {}),
        ({"where_syscall": struct.pack("=2q", *[NUMBER["getppid"]] * 2)}, {"getppid": 5}),
        ({"where_pid": struct.pack("=2q", 1, 1)}, {}),
        ({"where_uid": struct.pack("=2q", 0, 0), "failed_only": True}, {"close": 3, "getpgid": 4}),
    ],
)
@pytest.mark.parametrize("latency", [False, True])
def test_what_is_filtered_out_is_not_counted(
    track: Any, spawn: Any, params: dict[str, Any], seen: dict[str, int], latency: bool
) -> None:
    without = [] if latency else [BEGINS]
    tracked = track("syscall", without=without, latency=latency, **params)

    def calls() -> None:
        call("getppid", 5)
        call("close", 3, NOBODY)
        call("getpgid", 4, NOBODY)

    run(spawn, calls)
    rows = tracked.counts()

    numbers = {number: name for name, number in NUMBER.items()}
    assert {numbers[row["syscall"]]: row["count"] for row in rows} == seen


def test_all_calls_of_a_process_may_be_counted_together(track: Any, spawn: Any) -> None:
    tracked = track("syscall", without=[BEGINS], by_process=True, failed_only=True)

    def calls() -> None:
        call("close", 3, NOBODY)
        call("getpgid", 4, NOBODY)

    pid = run(spawn, calls)
    [row] = tracked.counts()

    assert (row["pid"], row["syscall"], row["count"], row["errors"]) == (pid, -1, 7, 7)


def test_durations_are_those_of_the_calls(track: Any, spawn: Any) -> None:
    tracked = track("syscall", latency=True, histogram_wanted=True)
    ms = 1_000_000

    def sleeps() -> None:
        for wait in (2, 20, 40):
            time.sleep(wait / 1000)

    run(spawn, sleeps)
    [(count, duration, longest)] = of(
        tracked.counts(), "sleep", "count", "duration", "max_duration"
    )
    [(sorted_count, total, slots)] = of(
        tracked.counts("histogram"), "sleep", "count", "sum", "slots"
    )

    assert count == sorted_count == sum(slots) == 3
    assert duration == total >= 62 * ms
    assert 40 * ms <= longest <= duration - 22 * ms
    assert sum(slots[25:]) >= 1  # 33 ms and more
    least = sum(number << slot for slot, number in enumerate(slots))
    assert least <= total < 2 * least


def test_a_histogram_alone_leaves_the_sums_out(track: Any, spawn: Any) -> None:
    tracked = track("syscall", histogram_wanted=True)
    run(spawn, lambda: call("getppid", 100))

    assert of(tracked.counts(), "getppid", "count", "duration", "max_duration") == [(100, 0, 0)]
    [(count, slots)] = of(tracked.counts("histogram"), "getppid", "count", "slots")
    assert count == sum(slots) == 100


@pytest.mark.parametrize(("latency", "seen"), [(False, []), (True, [(6,)])])
def test_the_return_from_a_signal_handler_has_a_number_only_at_its_beginning(
    track: Any, spawn: Any, latency: bool, seen: list[tuple[int]]
) -> None:
    tracked = track("syscall", without=[] if latency else [BEGINS], latency=latency)

    def signals() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        for _ in range(6):
            os.kill(os.getpid(), signal.SIGUSR1)

    run(spawn, signals)
    rows = tracked.counts()

    assert of(rows, "sigreturn", "count") == seen
    assert min(row["syscall"] for row in rows) >= 0


@pytest.mark.parametrize("latency", [False, True])
def test_a_call_from_the_table_of_32_bit_programs_counts_as_what_it_is(
    track: Any, spawn: Any, old_call: Any, latency: bool
) -> None:
    tracked = track("syscall", latency=latency)

    def calls() -> None:
        for _ in range(9):
            old_call(64)
        for _ in range(3):
            old_call(SOCKETCALL, SYS_BIND, old_call.words(NOBODY, 0, 0))
        for _ in range(5):
            old_call(IPC, SEMGET, 0, -1, 0)

    run(spawn, calls)

    bind, semget = 49, 64
    counts = {row["syscall"]: row["count"] for row in tracked.counts()}
    assert (counts[NUMBER["getppid"]], counts[bind], counts[semget]) == (9, 3, 5)
    assert {SOCKETCALL, IPC} & counts.keys() == set()


@pytest.mark.parametrize("entries", [1, 4])
def test_a_full_table_loses_only_what_it_tells(
    track: Any, spawn: Any, cgroup: Path, entries: int
) -> None:
    tracked = track("syscall", without=[BEGINS], entries=entries, failed_only=True)
    unknown = range(1000, 1020)  # numbers of no call, and each a key of its own

    def calls() -> None:
        for _ in range(50):
            for number in unknown:
                libc.syscall(number)

    run(spawn, calls)
    counted = sum(row["count"] for row in tracked.counts())
    account = tracked.account(cgroup)

    assert counted == 50 * entries
    assert counted + account.lost == 50 * len(unknown)
    assert account.matched == account.lost  # what is in the table counts when it is read


def test_nothing_of_another_cgroup_is_counted_and_a_refused_one_is_kept_apart(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    tracked = track("syscall", without=[BEGINS], failed_only=True)
    call("close", 9, NOBODY)
    assert tracked.counts() == []

    tracked.target(cgroup, state=2)
    run(spawn, lambda: call("close", 9, NOBODY))

    assert tracked.counts() == []
    assert tracked.unclassified == 9
    assert tracked.account(cgroup).matched == 0
