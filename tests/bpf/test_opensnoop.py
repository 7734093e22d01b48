# SPDX-License-Identifier: Apache-2.0
"""Opens in a cgroup: each one is a row, or counted as what became of it."""

import ctypes
import errno
import os
import platform
import select
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.events.drain import DELAY, LONGEST_DELAY

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)


def open_times(path: bytes, times: int) -> Callable[[], None]:
    def opens() -> None:
        for _ in range(times):
            os.close(os.open(path, os.O_RDONLY))

    return opens


def test_every_open_is_one_row_that_says_who_and_what(
    track: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    tracked = track("opensnoop")
    pid = spawn(open_times(bytes(marker), 1000))
    os.waitpid(pid, 0)

    rows = tracked.rows()

    assert rows.text("path") == [str(marker)] * 1000
    assert set(rows.text("flags")) == {"O_RDONLY|O_CLOEXEC"}
    assert set(rows.text("error")) == {""}
    assert set(rows.fixed["pid"].tolist()) == set(rows.fixed["tid"].tolist()) == {pid}
    assert set(rows.fixed["cgroup_id"].tolist()) == {cgroup.stat().st_ino}
    assert set(rows.text("comm")) == {Path("/proc/self/comm").read_text().strip()}
    times = rows.fixed["time"].tolist()
    assert times == sorted(times)
    assert before < times[0] < times[-1] < time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    account = tracked.account(cgroup)
    assert (account.matched, account.lost, account.limited) == (1000, 0, 0)
    assert tracked.object.misses() == 0


@pytest.mark.parametrize("ring_bytes", [4096, 16384])
def test_a_ring_that_is_too_small_loses_only_what_it_tells(
    track: Any, spawn: Any, cgroup: Path, tmp_path: Path, ring_bytes: int
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    tracked = track("opensnoop", ring_bytes=ring_bytes)
    pids = [spawn(open_times(bytes(marker), 20_000)) for _ in range(2)]
    delivered = 0
    while pids:
        delivered += len(tracked.drain.drain())
        pids = [pid for pid in pids if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        time.sleep(0.002)
    delivered += len(tracked.rows())

    account = tracked.account(cgroup)
    missed = tracked.object.misses()

    assert account.matched + missed == 40_000
    assert account.matched == delivered + account.lost
    assert account.lost > 0
    assert delivered > 0
    assert tracked.drain.malformed == 0


def test_a_paused_reader_loses_the_newest_and_says_how_many(
    track: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    tracked = track("opensnoop", ring_bytes=4096)
    os.waitpid(spawn(open_times(bytes(marker), 500)), 0)

    rows = tracked.rows()

    assert 0 < len(rows) < 4096 // rows.layout.size
    assert tracked.account(cgroup).lost == 500 - len(rows)


def test_a_job_over_its_limit_does_not_touch_the_other(
    track: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    tracked = track("opensnoop")
    second = 10**9
    tracked.limit([(0, 0), (0, 0), (second, 9 * second)], jobs=0b101)
    tracked.target(cgroup, jobs=0b111)
    os.waitpid(spawn(open_times(bytes(marker), 2000)), 0)

    rows = tracked.rows()

    free, bound = tracked.account(cgroup, 0), tracked.account(cgroup, 2)
    assert (free.matched, free.limited, free.lost) == (2000, 0, 0)
    assert (bound.matched, bound.lost) == (2000, 0)
    assert 10 <= 2000 - bound.limited <= 12  # a burst of ten, and what time brought meanwhile
    bits = rows.fixed["jobs"].tolist()
    assert len(bits) == 2000
    assert sum(bit & 0b100 != 0 for bit in bits) == 2000 - bound.limited
    assert all(bit & 0b001 for bit in bits)
    assert tracked.account(cgroup, 1).matched == 0  # slot 1 has no part in this instance


def test_what_a_refused_cgroup_does_is_counted_and_kept_apart(
    track: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    tracked = track("opensnoop")
    tracked.target(cgroup, state=2)
    os.waitpid(spawn(lambda: [libc.open(b"/nowhere", 0) for _ in range(7)]), 0)

    assert len(tracked.rows()) == 0
    assert tracked.unclassified == 7
    assert tracked.account(cgroup).matched == 0


def test_events_of_a_pending_cgroup_say_so(track: Any, spawn: Any, cgroup: Path) -> None:
    tracked = track("opensnoop")
    tracked.target(cgroup, state=1)
    os.waitpid(spawn(lambda: libc.open(b"/nowhere", 0)), 0)

    assert tracked.rows().fixed["subject_flags"].tolist() == [1]


def test_names_made_to_harm_a_terminal_come_whole_and_are_shown_escaped(
    track: Any, spawn: Any
) -> None:
    names = [b"/\x1b[31mred\x1b[0m", b"/two\nlines\t\r", b"/bad\xff\xfeutf8", b"/back\\slash", b""]
    tracked = track("opensnoop")
    os.waitpid(spawn(lambda: [libc.open(name, 0) for name in names]), 0)

    rows = tracked.rows()

    assert rows.bytes_of("path") == names
    assert rows.text("path") == [
        "/\\x1b[31mred\\x1b[0m",
        "/two\\nlines\\t\\r",
        "/bad\\xff\\xfeutf8",
        "/back\\\\slash",
        "",
    ]
    assert rows.json("path") == [
        '"/\\u001b[31mred\\u001b[0m"',
        '"/two\\nlines\\t\\r"',
        '"/bad\\\\xff\\\\xfeutf8"',
        '"/back\\\\slash"',
        '""',
    ]
    assert set(rows.text("error")) == {"ENOENT"}


def test_the_longest_path_comes_whole_and_an_unreadable_one_is_empty(
    track: Any, spawn: Any
) -> None:
    longest = b"/" + b"a/" * 2047
    tracked = track("opensnoop")
    os.waitpid(spawn(lambda: (libc.open(longest, 0), libc.open(ctypes.c_void_p(8), 0))), 0)

    rows = tracked.rows()

    assert rows.bytes_of("path") == [longest, b""]
    assert rows.text("error") == ["ENOENT", "EFAULT"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="arm64 has neither open nor creat")
def test_all_four_calls_are_seen_with_their_flags_and_mode(
    track: Any, spawn: Any, tmp_path: Path
) -> None:
    path = bytes(tmp_path / "new")
    how = struct.pack("=QQQ", os.O_RDWR | os.O_CREAT, 0o640, 0)
    at_cwd = -100

    def calls() -> None:
        libc.syscall(2, path, os.O_WRONLY | os.O_CREAT, 0o600)
        libc.syscall(257, at_cwd, path, os.O_RDONLY | os.O_DIRECTORY, 0o777)
        libc.syscall(437, at_cwd, path, how, len(how))
        libc.syscall(85, path, 0o604)

    tracked = track("opensnoop")
    os.waitpid(spawn(calls), 0)

    rows = tracked.rows()

    assert list(zip(rows.text("flags"), rows.text("mode"), rows.text("error"), strict=True)) == [
        ("O_WRONLY|O_CREAT", "0600", ""),
        ("O_RDONLY|O_DIRECTORY", "0000", "ENOTDIR"),
        ("O_RDWR|O_CREAT", "0640", ""),
        ("O_WRONLY|O_CREAT|O_TRUNC", "0604", ""),
    ]
    assert rows.bytes_of("path") == [path] * 4
    descriptors = rows.fixed["fd"].tolist()
    assert descriptors[1] == -1
    assert min(descriptors[0], *descriptors[2:]) >= 0


def test_two_bytes_of_machine_code_hide_no_open(
    track: Any, spawn: Any, old_call: Any, tmp_path: Path
) -> None:
    """A 64-bit program takes the way of 32-bit ones by `int 0x80`."""
    path, at_cwd = bytes(tmp_path / "new"), -100
    how = struct.pack("=QQQ", os.O_RDWR, 0, 0)
    numbers = {"open": 5, "creat": 8, "openat": 295, "openat2": 437}

    def calls() -> None:
        old_call(numbers["open"], path, os.O_WRONLY | os.O_CREAT, 0o600)
        old_call(numbers["openat"], at_cwd, path, os.O_RDONLY | os.O_DIRECTORY)
        old_call(numbers["openat2"], at_cwd, path, how, len(how))
        old_call(numbers["creat"], path, 0o604)
        old_call(257, path, 0)  # openat, by the numbers of 64-bit programs

    tracked = track("opensnoop")
    os.waitpid(spawn(calls), 0)

    rows = tracked.rows()

    assert list(zip(rows.text("flags"), rows.text("mode"), rows.text("error"), strict=True)) == [
        ("O_WRONLY|O_CREAT", "0600", ""),
        ("O_RDONLY|O_DIRECTORY", "0000", "ENOTDIR"),
        ("O_RDWR", "0000", ""),
        ("O_WRONLY|O_CREAT|O_TRUNC", "0604", ""),
    ]
    assert rows.bytes_of("path") == [path] * 4


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is a way into x86-64 alone")
def test_the_numbers_of_x32_hide_no_open(track: Any, spawn: Any, tmp_path: Path) -> None:
    """They have a bit that others have not; a kernel without x32 refuses them all."""
    x32 = 1 << 30
    tracked = track("opensnoop")
    os.waitpid(spawn(lambda: libc.syscall(x32 | 2, bytes(tmp_path), os.O_DIRECTORY)), 0)

    rows = tracked.rows()

    assert rows.bytes_of("path") == [bytes(tmp_path)]
    assert rows.text("flags") == ["O_RDONLY|O_DIRECTORY"]
    assert set(rows.text("error")) <= {"", "ENOSYS"}


@pytest.mark.parametrize(
    ("params", "seen"),
    [
        ({}, ["/dev/null", "/dev/zero", "/missing"]),
        ({"failed_only": True}, ["/missing"]),
        ({"prefix": "/dev/"}, ["/dev/null", "/dev/zero"]),
        ({"prefix": "/dev/null0"}, []),
        ({"flag_mask": os.O_WRONLY | os.O_RDWR}, ["/dev/zero"]),
    ],
)
def test_what_a_param_filters_out_is_not_matched(
    track: Any, spawn: Any, cgroup: Path, params: dict[str, Any], seen: list[str]
) -> None:
    tracked = track("opensnoop", **params)

    def calls() -> None:
        libc.open(b"/dev/null", os.O_RDONLY)
        libc.open(b"/dev/zero", os.O_WRONLY)
        libc.open(b"/missing", os.O_RDONLY)

    os.waitpid(spawn(calls), 0)

    assert tracked.rows().text("path") == seen
    assert tracked.account(cgroup).matched == len(seen)


@pytest.mark.parametrize(
    ("column", "least", "most", "seen"),
    [
        ("error", errno.ENOENT, errno.ENOENT, ["/missing"]),
        ("error", 0, 0, ["/dev/null"]),
        ("fd", 0, 2**31 - 1, ["/dev/null"]),
        ("fd", -1, -1, ["/missing", "/dev/null/not"]),
    ],
)
def test_conditions_on_what_came_of_it_are_decided_in_the_kernel(
    track: Any, spawn: Any, cgroup: Path, column: str, least: int, most: int, seen: list[str]
) -> None:
    tracked = track("opensnoop", **{f"where_{column}": struct.pack("=2q", least, most)})
    paths = (b"/dev/null", b"/missing", b"/dev/null/not")
    os.waitpid(spawn(lambda: [libc.open(path, 0) for path in paths]), 0)

    assert tracked.rows().text("path") == seen
    assert tracked.account(cgroup).matched == len(seen)


def test_nothing_of_another_cgroup_is_seen(track: Any, spawn: Any, cgroup: Path) -> None:
    tracked = track("opensnoop")
    with pytest.raises(FileNotFoundError) as failure:
        os.open("/not-ours", os.O_RDONLY)

    assert failure.value.errno == errno.ENOENT
    assert len(tracked.rows()) == 0


def test_the_reader_sleeps_until_the_first_event_and_is_hurried_when_half_full(
    track: Any, spawn: Any
) -> None:
    path = b"/" + b"x" * 79
    tracked = track("opensnoop", ring_bytes=1 << 16)
    drain = tracked.drain

    def wakes(within: float = 0) -> bool:
        return bool(select.select([drain], [], [], within)[0])

    def opens(times: int) -> None:
        os.waitpid(spawn(lambda: [libc.open(path, 0) for _ in range(times)]), 0)

    for _ in range(2):  # the second time the ring is empty again
        assert not wakes()
        opens(10)
        assert wakes(within=2)
        assert DELAY <= drain.woken() <= LONGEST_DELAY
        opens(10)
        assert not wakes()
        assert len(drain.drain()) == 20

    opens(1)
    assert DELAY <= drain.woken() <= LONGEST_DELAY
    opens(200)
    assert wakes(within=2)
    assert drain.woken() == 0.0
    opens(50)
    assert not wakes()
    assert len(drain.drain()) == 251
