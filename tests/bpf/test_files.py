# SPDX-License-Identifier: Apache-2.0
"""Files that a cgroup opens, reads and writes: each with exactly what was done to it."""

import ctypes
import os
import platform
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.kernel import hooks

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)
BEGINS = "tp_btf/sys_enter"
FUNCTIONS = [
    f"fexit/{name}"
    for name in (
        "vfs_read",
        "vfs_readv",
        "vfs_write",
        "vfs_writev",
        "do_sys_openat2",
        "do_handle_open",
        "do_sendfile",
        "do_splice",
        "vfs_copy_file_range",
    )
]
HOOKS = {"functions": FUNCTIONS, "calls": ["tp_btf/sys_exit"]}
DONE = ("opens", "reads", "writes", "read_bytes", "write_bytes")


@pytest.fixture(params=list(HOOKS))
def files(request: pytest.FixtureRequest, track: Any) -> Callable[..., Any]:
    """Load and attach the tracker by one of the two kinds of hooks: files(param=…)."""
    chosen = HOOKS[request.param]
    lacking = next(filter(None, map(hooks.missing, chosen)), None)
    if lacking:
        pytest.skip(f"needs a kernel with other hooks: {lacking}")
    others = {section for each in HOOKS.values() for section in each} - set(chosen)

    def start(**params: Any) -> Any:
        begins = set() if params.get("histogram_wanted") else {BEGINS}
        return track("files", without=others | begins, **params)

    return start


def run(spawn: Any, function: Callable[[], object]) -> int:
    pid: int = spawn(function)
    os.waitpid(pid, 0)
    return pid


def done(rows: list[dict[str, Any]], below: Path | str) -> dict[str, tuple[int, ...]]:
    """Path → opens, reads, writes, bytes read, bytes written, of files below a directory."""
    prefix = str(below)
    found = [(row["path"].decode("utf-8", "replace"), row) for row in rows]
    chosen = [(path, row) for path, row in found if path.startswith(prefix)]
    assert len({path for path, _ in chosen}) == len(chosen)
    return {path.removeprefix(prefix): tuple(row[name] for name in DONE) for path, row in chosen}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount something on a new directory, until the test ends."""
    made: list[Path] = []

    def mount(name: str, *arguments: str) -> Path:
        place = tmp_path / name
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", *arguments, place], check=True)
        made.append(place)
        return place

    yield mount
    for place in reversed(made):
        subprocess.run(["umount", "--lazy", place], check=True)


def test_every_operation_is_counted_with_its_bytes(
    files: Any, spawn: Any, cgroup: Path, mounted: Any
) -> None:
    root = mounted("plain", "-t", "tmpfs", "none")
    data, log = root / "data", root / "log"
    data.write_bytes(b"x" * 1000)
    tracked = files()

    def work() -> None:
        source = os.open(data, os.O_RDONLY)
        for _ in range(300):
            os.pread(source, 100, 0)
        os.lseek(source, 990, os.SEEK_SET)
        assert [len(os.read(source, 64)) for _ in range(3)] == [10, 0, 0]
        target = os.open(log, os.O_WRONLY | os.O_CREAT)
        for _ in range(40):
            os.write(target, b"y" * 7)

    pid = run(spawn, work)
    rows = tracked.counts()

    assert done(rows, root) == {
        "/data": (1, 303, 0, 30_010, 0),
        "/log": (1, 0, 40, 0, 280),
    }
    [row] = [row for row in rows if row["path"] == bytes(data)]
    status = data.stat()
    assert (row["inode"], row["pid"], row["count"]) == (status.st_ino, pid, 304)
    major, minor = os.major(status.st_dev), os.minor(status.st_dev)
    assert row["device"] == major << 20 | minor
    assert row["file_type"] & 0o170000 == 0o100000
    assert row["cgroup_id"] == cgroup.stat().st_ino
    assert row["comm"].decode() == Path("/proc/self/comm").read_text().strip()
    assert tracked.account(cgroup).lost == 0
    assert tracked.object.misses() == 0


def test_each_call_that_reads_or_writes_is_known(files: Any, spawn: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    tracked = files()

    def work() -> None:
        file = os.open(path, os.O_RDWR)
        os.read(file, 1)
        os.pread(file, 2, 0)
        os.readv(file, [bytearray(1), bytearray(3)])
        os.preadv(file, [bytearray(8)], 0)
        os.preadv(file, [bytearray(16)], 0, os.RWF_HIPRI)
        os.write(file, b"x")
        os.pwrite(file, b"x" * 2, 0)
        os.writev(file, [b"x", b"x" * 3])
        os.pwritev(file, [b"x" * 8], 0)
        os.pwritev(file, [b"x" * 16], 0, os.RWF_SYNC)

    run(spawn, work)

    assert done(tracked.counts(), path) == {"": (1, 5, 5, 31, 31)}


def test_each_call_that_opens_is_known_and_one_that_fails_opens_nothing(
    files: Any, spawn: Any, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.touch()
    name = bytes(path)
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    at_cwd = -100
    numbers = {"x86_64": (257, 437), "aarch64": (56, 437)}[platform.machine()]
    old = platform.machine() == "x86_64"
    tracked = files()

    def work() -> None:
        libc.syscall(numbers[0], at_cwd, name, os.O_RDONLY, 0)
        libc.syscall(numbers[1], at_cwd, name, how, len(how))
        libc.syscall(numbers[0], at_cwd, name + b"/not", os.O_RDONLY, 0)
        if old:
            libc.syscall(2, name, os.O_RDONLY, 0)
            libc.syscall(85, name, 0o600)

    run(spawn, work)

    assert done(tracked.counts(), tmp_path) == {"/file": (4 if old else 2, 0, 0, 0, 0)}


def test_two_bytes_of_machine_code_hide_no_file(
    files: Any, spawn: Any, old_call: Any, tmp_path: Path
) -> None:
    """A 64-bit program takes the way of 32-bit ones by `int 0x80`."""
    numbers = {"open": 5, "openat": 295, "openat2": 437, "creat": 8, "read": 3, "write": 4}
    numbers |= {"pread64": 180, "readv": 145, "writev": 146, "sendfile": 187}
    numbers |= {"copy_file_range": 377}
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"x" * 1000)
    at_cwd, how = -100, struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    tracked = files(histogram_wanted=True)

    def work() -> None:
        reading = old_call(numbers["open"], bytes(source), os.O_RDONLY)
        old_call(numbers["openat"], at_cwd, bytes(source), os.O_RDONLY)
        old_call(numbers["openat2"], at_cwd, bytes(source), how, len(how))
        writing = old_call(numbers["creat"], bytes(copy), 0o600)
        old_call(numbers["read"], reading, bytes(100), 100)
        old_call(numbers["pread64"], reading, bytes(100), 50, 0, 0)
        old_call(numbers["readv"], reading, old_call.words(bytes(100), 20), 1)
        old_call(numbers["write"], writing, bytes(100), 7)
        old_call(numbers["writev"], writing, old_call.words(bytes(100), 3), 1)
        old_call(numbers["sendfile"], writing, reading, 0, 80)
        old_call(numbers["copy_file_range"], reading, 0, writing, 0, 60, 0)
        old_call(numbers["write"], writing, 8, 7)  # no such memory

    run(spawn, work)

    assert done(tracked.counts(), tmp_path) == {
        "/source": (3, 5, 0, 310, 0),
        "/copy": (1, 0, 4, 0, 150),
    }
    lasted = {row["operation"]: row["count"] for row in tracked.counts("histogram")}
    assert lasted == {1: 4, 2: 3, 3: 2, 4: 2}


def test_a_copy_within_the_kernel_is_a_read_here_and_a_write_there(
    files: Any, spawn: Any, tmp_path: Path
) -> None:
    tracked = files()
    (tmp_path / "from").write_bytes(b"x" * 5000)

    def work() -> None:
        source = os.open(tmp_path / "from", os.O_RDONLY)
        target = os.open(tmp_path / "to", os.O_WRONLY | os.O_CREAT)
        assert os.sendfile(target, source, 0, 3000) == 3000
        assert os.copy_file_range(source, target, 200, 0) == 200
        out, into = os.pipe()
        assert os.splice(source, into, 50, offset_src=0) == 50
        assert os.splice(out, target, 50) == 50

    run(spawn, work)

    assert done(tracked.counts(), tmp_path) == {
        "/from": (1, 3, 0, 3250, 0),
        "/to": (1, 0, 3, 0, 3250),
    }


def test_what_fails_is_not_counted(files: Any, spawn: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    tracked = files()

    def work() -> None:
        file = os.open(path, os.O_RDONLY)
        libc.write(file, b"x", 1)
        libc.read(file, None, 1)
        libc.read(10_000, None, 1)

    run(spawn, work)

    assert done(tracked.counts(), path) == {"": (1, 1, 0, 0, 0)}  # at its end there is nothing


def test_names_of_one_file_are_one_row_under_the_first_that_was_used(
    files: Any, spawn: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"x" * 10)
    second.hardlink_to(first)
    tracked = files()

    def read() -> None:
        for path in (second, first):
            path.read_bytes()

    run(spawn, read)
    assert done(tracked.counts(), tmp_path) == {"/second": (2, 4, 0, 20, 0)}

    run(spawn, first.read_bytes)
    assert done(tracked.counts(), tmp_path) == {"/first": (1, 2, 0, 10, 0)}


def test_a_file_that_is_renamed_or_deleted_keeps_the_name_it_has_when_it_is_first_seen(
    files: Any, spawn: Any, tmp_path: Path
) -> None:
    old, new, gone = tmp_path / "old", tmp_path / "new", tmp_path / "gone"
    for path in (old, gone):
        path.touch()
    tracked = files()

    def work() -> None:
        files = [os.open(path, os.O_WRONLY) for path in (old, gone)]
        old.rename(new)
        gone.unlink()
        for file in files:
            os.write(file, b"x")
        os.kill(os.getpid(), 19)  # SIGSTOP: the interval ends
        for file in files:
            os.write(file, b"x")

    pid = spawn(work)
    os.waitpid(pid, os.WUNTRACED)
    assert done(tracked.counts(), tmp_path) == {
        "/old": (1, 0, 1, 0, 1),
        "/gone": (1, 0, 1, 0, 1),
    }

    os.kill(pid, 18)
    os.waitpid(pid, 0)
    assert done(tracked.counts(), tmp_path) == {
        "/new": (0, 0, 1, 0, 1),
        "/gone": (0, 0, 1, 0, 1),
    }


def test_a_path_leads_through_mounts(files: Any, spawn: Any, mounted: Any, tmp_path: Path) -> None:
    outer = mounted("outer", "-t", "tmpfs", "none")
    inner = mounted("outer/a/inner", "-t", "tmpfs", "none")
    (inner / "b/c").mkdir(parents=True)
    (inner / "b/c/file").touch()
    (inner / "top").touch()
    bound = mounted("bound", "--bind", str(inner / "b"))
    tracked = files()

    def work() -> None:
        os.write(os.open(inner / "b/c/file", os.O_WRONLY), b"x")
        os.write(os.open(inner / "top", os.O_WRONLY), b"x")

    run(spawn, work)
    assert done(tracked.counts(), outer) == {
        "/a/inner/b/c/file": (1, 0, 1, 0, 1),
        "/a/inner/top": (1, 0, 1, 0, 1),
    }

    run(spawn, lambda: os.open(bound / "c/file", os.O_WRONLY))
    assert done(tracked.counts(), bound) == {"/c/file": (1, 0, 0, 0, 0)}


def test_a_path_begins_at_the_root_of_its_process(
    files: Any, spawn: Any, mounted: Any, tmp_path: Path
) -> None:
    root = mounted("root", "-t", "tmpfs", "none")
    (root / "etc").mkdir()
    (root / "etc/inside").touch()
    outside = tmp_path / "outside"
    outside.touch()
    tracked = files()

    def work() -> None:
        inherited = os.open(outside, os.O_WRONLY)
        os.chroot(root)
        os.write(os.open("/etc/inside", os.O_WRONLY), b"x")
        os.write(os.open("/top", os.O_WRONLY | os.O_CREAT), b"x")
        os.kill(os.getpid(), 19)  # SIGSTOP: the interval ends
        os.write(inherited, b"x")

    pid = spawn(work)
    os.waitpid(pid, os.WUNTRACED)
    rows = tracked.counts()
    assert done(rows, "/etc/inside") == {"": (1, 0, 1, 0, 1)}
    assert done(rows, "/top") == {"": (1, 0, 1, 0, 1)}

    os.kill(pid, 18)
    os.waitpid(pid, 0)
    assert done(tracked.counts(), "(unreachable)") == {str(outside): (0, 0, 1, 0, 1)}


def test_files_of_no_directory_have_their_name_alone(files: Any, spawn: Any, mounted: Any) -> None:
    root = mounted("plain", "-t", "tmpfs", "none")
    tracked = files()

    def work() -> None:
        os.write(os.memfd_create("scratch"), b"xyz")
        os.write(os.open(root, os.O_TMPFILE | os.O_WRONLY), b"xy")

    run(spawn, work)
    rows = tracked.counts()

    assert done(rows, "memfd:") == {"scratch": (0, 0, 1, 0, 3)}
    [(name, figures)] = done(rows, f"{root}/").items()
    assert name.startswith("#")
    assert figures == (1, 0, 1, 0, 2)


def test_names_made_to_harm_come_whole(files: Any, spawn: Any, tmp_path: Path) -> None:
    names = [b"\x1b[31mred", b"two\nlines\t\r", b"bad\xff\xfeutf8", b"back\\slash", b" (deleted)"]
    tracked = files()
    folder = bytes(tmp_path)

    def work() -> None:
        for name in names:
            os.open(folder + b"/" + name, os.O_CREAT | os.O_WRONLY)

    run(spawn, work)

    paths = [row["path"] for row in tracked.counts()]
    assert sorted(path for path in paths if path.startswith(folder)) == sorted(
        folder + b"/" + name for name in names
    )


@pytest.mark.parametrize("length", [238, 239, 240, 241, 300, 3000])
def test_a_long_path_keeps_its_end(files: Any, spawn: Any, mounted: Any, length: int) -> None:
    root = mounted("long", "-t", "tmpfs", "none")
    depth, rest = divmod(length - 1, 20)
    names = [f"{i:019}" for i in range(depth)]
    folder = root.joinpath(*names)
    folder.mkdir(parents=True)
    name = "f" * (rest or 20)
    path = "/" + "/".join([*names[: len(names) if rest else -1], name])
    tracked = files()

    def work() -> None:
        os.chroot(root)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.open(path, os.O_CREAT | os.O_WRONLY)

    run(spawn, work)

    assert len(path) == length
    shown = path if length <= 239 else "..." + path[-239:]
    assert [row["path"].decode() for row in tracked.counts() if row["opens"]] == [shown]


def test_the_longest_name_and_a_deep_tree_keep_their_end(
    files: Any, spawn: Any, mounted: Any
) -> None:
    root = mounted("deep", "-t", "tmpfs", "none")
    longest = "".join(chr(ord("a") + i % 26) for i in range(255))
    deep = "/d" * 300
    (root / deep[1:]).mkdir(parents=True)
    tracked = files()

    def work() -> None:
        os.chroot(root)
        os.open(f"/{longest}", os.O_CREAT | os.O_WRONLY)
        os.open(f"{deep}/f", os.O_CREAT | os.O_WRONLY)

    run(spawn, work)

    paths = sorted(row["path"].decode() for row in tracked.counts() if row["opens"])
    assert paths == sorted(["..." + longest[-239:], "..." + f"{deep}/f"[-239:]])


def test_what_is_no_regular_file_is_counted_when_asked_for(
    files: Any, spawn: Any, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def work() -> None:
        ends = socket.socketpair()
        os.write(ends[0].fileno(), b"12345")
        os.write(os.pipe()[1], b"123")
        os.write(os.open(fifo, os.O_RDWR), b"12")
        os.read(os.open("/dev/zero", os.O_RDONLY), 9)
        os.open(tmp_path, os.O_RDONLY)

    def seen(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        chosen = [row for row in rows if row["file_type"] & 0o170000 != 0o100000]
        names = ("path", "read_bytes", "write_bytes", "opens")
        return sorted((row["file_type"] >> 12, *(row[name] for name in names)) for row in chosen)

    tracked = files()
    run(spawn, work)
    assert seen(tracked.counts()) == []

    tracked = files(regular_only=False)
    run(spawn, work)
    assert seen(tracked.counts()) == [
        (0o1, b"", 0, 3, 0),
        (0o1, bytes(fifo), 0, 2, 1),
        (0o2, b"/dev/zero", 9, 0, 1),
        (0o4, bytes(tmp_path), 0, 0, 1),
        (0o14, b"UNIX-STREAM", 0, 5, 0),
    ]


def test_excluded_files_are_neither_counted_nor_matched(
    files: Any, spawn: Any, cgroup: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("short")
    keep, noise = folder / "keep", folder / "noise"
    tracked = files(exclude=str(noise), entries=2)

    def work() -> None:
        os.write(os.open(keep, os.O_CREAT | os.O_WRONLY), b"x")
        for number in range(20):
            file = os.open(f"{noise}{number}", os.O_CREAT | os.O_WRONLY)
            for _ in range(5):
                os.write(file, b"x")

    run(spawn, work)

    assert done(tracked.counts(), folder) == {"/keep": (1, 0, 1, 0, 1)}
    assert tracked.account(cgroup).lost == 0


def test_a_full_table_loses_only_what_it_tells(
    files: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    tracked = files(entries=10)

    def work() -> None:
        for number in range(100):
            file = os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY)
            for _ in range(3):
                os.write(file, b"x")

    run(spawn, work)
    rows = tracked.counts()
    account = tracked.account(cgroup)

    operations = 400 + 1  # and the one by which the child joined the cgroup
    assert len(rows) == 10
    assert sum(row["count"] for row in rows) + account.lost == operations
    assert account.matched == account.lost


@pytest.mark.parametrize("column", ["pid", "inode"])
def test_a_condition_decides_in_the_kernel(
    files: Any, spawn: Any, cgroup: Path, tmp_path: Path, column: str
) -> None:
    wanted, other = tmp_path / "wanted", tmp_path / "other"
    for path in (wanted, other):
        path.touch()
    value = {"pid": os.getpid(), "inode": wanted.stat().st_ino}[column]
    condition = {f"where_{column}": struct.pack("=2q", value, value)}
    tracked = files(**condition)

    run(spawn, lambda: [path.read_bytes() for path in (wanted, other)])

    seen = {"pid": {}, "inode": {"/wanted": (1, 1, 0, 0, 0)}}[column]
    assert done(tracked.counts(), tmp_path) == seen


def test_operations_are_sorted_by_how_long_they_take(
    files: Any, spawn: Any, tmp_path: Path
) -> None:
    tracked = files(histogram_wanted=True, regular_only=False)
    (tmp_path / "data").write_bytes(b"x" * 100)

    def work() -> None:
        out, into = os.pipe()
        if os.fork() == 0:
            time.sleep(0.03)
            os.write(into, b"late")
            os._exit(0)
        os.read(out, 4)
        file = os.open(tmp_path / "data", os.O_RDONLY)
        for _ in range(9):
            os.pread(file, 10, 0)
        os.sendfile(into, file, 0, 100)

    run(spawn, work)
    rows = {row["operation"]: row for row in tracked.counts("histogram")}
    operations = {number: row["count"] for number, row in rows.items()}

    assert operations == {1: 1, 2: 10, 3: 1, 4: 1}
    assert all(sum(row["slots"]) == row["count"] for row in rows.values())
    slots, total = rows[2]["slots"], rows[2]["sum"]
    assert sum(slots[24:]) >= 1  # 17 ms and more
    least = sum(number << slot for slot, number in enumerate(slots))
    assert least <= total < 2 * least


def test_nothing_of_another_cgroup_is_counted_and_a_refused_one_is_kept_apart(
    files: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.touch()
    tracked = files()
    path.read_bytes()
    assert tracked.counts() == []

    tracked.target(cgroup, state=2)
    run(spawn, path.read_bytes)

    assert tracked.counts() == []
    assert tracked.unclassified == 3  # joining the cgroup, an open, and a read of nothing
    assert tracked.account(cgroup).matched == 0


def test_a_refused_cgroup_is_still_seen_by_jobs_that_watch_everything(
    files: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.touch()
    tracked = files()
    tracked.object.map("instance").update(bytes(4), struct.pack("=2Q192Q", 3, 2, *[0] * 192))
    tracked.target(cgroup, state=2)
    run(spawn, path.read_bytes)

    rows = tracked.counts()
    assert done(rows, path) == {"": (1, 1, 0, 0, 0)}
    assert tracked.unclassified >= 3, "for the other job, whose they may be"
