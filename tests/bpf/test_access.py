# SPDX-License-Identifier: Apache-2.0
"""What a cgroup does to files by path: each act told once, under the path of the file itself."""

import ctypes
import mmap
import os
import platform
import shutil
import signal
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.kernel import hooks
from eunomia_agent.trackers.key import Enforcement
from eunomia_agent.trackers.paths import DISK, PATH_VARIABLES, PathsByClass, PathSet, class_of

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
CLONE_NEWNS, MS_BIND, MS_PRIVATE, MNT_DETACH = 0x20000, 4096, 1 << 18 | 1 << 14, 2
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = 1, 4
OPEN_TREE, MOVE_MOUNT, OPENAT2 = 428, 429, 437
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[platform.machine()]
OPENAT = {"x86_64": 257, "aarch64": 56}[platform.machine()]
EVERY = 2**32 - 1
"""All classes of events: PATH_ALL of match_path.h."""
OPEN_TO_READ, OPEN_TO_WRITE, CREATE, MOUNT = 1 << 1, 1 << (1 | 16), 1 << (2 | 16), 1 << (11 | 16)


def asked(prefixes: int = 0, names: int = 0, free: int = 0) -> dict[str, bytes | int]:
    """Return the variables that say of which classes paths are asked, by prefix and by name."""
    return {"where_path_used": struct.pack("=2I", prefixes, names), "where_path_free": free}


PREFIXES, NAMES, BOTH = asked(EVERY), asked(0, EVERY), asked(EVERY, EVERY)
Row = dict[str, Any]
HOOKS = {
    "functions": ["fexit/do_filp_open", "fexit/do_handle_open", "raw_tp/sys_exit"],
    "calls": ["tp_btf/sys_exit"],
}


def run(spawn: Any, function: Callable[[], object]) -> int:
    """Run it in the cgroup, and return how it ended, as wait(2) tells."""
    return int(os.waitpid(spawn(function), 0)[1])


def told(tracked: Any, below: Path | str) -> list[Row]:
    """Take the rows that name something below a directory, in order."""
    batch = tracked.rows()
    texts = {column.name: batch.text(column.name) for column in batch.layout.columns}
    numbers = {name: batch.fixed[name].tolist() for name in ("links", "writing", "upper", "pid")}
    columns = {**texts, **numbers}
    rows = [{name: columns[name][i] for name in columns} for i in range(len(batch))]
    return [row for row in rows if str(below) in row["path"] + row["target"]]


def short(rows: list[Row], below: Path | str) -> list[tuple[str, str, str, str]]:
    """Return what was done to what, without the directory that all is in."""
    return [
        (
            row["kind"],
            row["path"].replace(str(below), ""),
            row["target"].replace(str(below), ""),
            row["error"],
        )
        for row in rows
    ]


def wanted(
    tracked: Any,
    *,
    prefixes: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    classes: int = EVERY,
) -> None:
    """Fill the maps of WHERE_PATH. A prefix that ends with NUL is a whole path."""
    value = struct.pack("=I", classes)
    for prefix in prefixes:
        content = prefix.encode()
        key = struct.pack("=I256s", 8 * len(content), content)
        tracked.object.map("where_path_prefixes").update(key, value)
    for name in names:
        tracked.object.map("where_path_names").update(struct.pack("64s", name.encode()), value)


def asking(access: Any, sets: Mapping[int, PathSet], free: int = 0, **params: Any) -> Any:
    """Load and attach it as the agent does for paths that some classes of events are asked for."""
    content = PathsByClass.of(sets, free).variables("path")
    variables = {f"where_path_{end}" for end in PATH_VARIABLES}
    tracked = access(**{name: content[name] for name in variables}, **params)
    for classes, paths in sets.items():
        prefixes, names = (tuple(map(os.fsdecode, each)) for each in (paths.prefixes, paths.names))
        wanted(tracked, prefixes=prefixes, names=names, classes=classes)
    return tracked


def path_set(prefixes: Iterable[str] = (), names: Iterable[str] = ()) -> PathSet:
    """Return a set of paths: see PathSet."""
    return PathSet(frozenset(map(os.fsencode, prefixes)), frozenset(map(os.fsencode, names)))


@pytest.fixture(params=list(HOOKS))
def access(request: pytest.FixtureRequest, track: Any) -> Callable[..., Any]:
    """Load and attach the tracker by one of the two kinds of hooks: access(param=…)."""
    chosen = HOOKS[request.param]
    lacking = next(filter(None, map(hooks.missing, chosen)), None)
    if lacking:
        pytest.skip(f"needs a kernel with other hooks: {lacking}")
    others = {section for each in HOOKS.values() for section in each} - set(chosen)

    def start(**params: Any) -> Any:
        return track("access", without=others, **params)

    return start


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


# ---- opens ----


def test_whatever_an_open_is_given_the_path_is_that_of_the_file(
    access: Any, spawn: Any, tmp_path: Path, cgroup: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "secret").touch()
    (tmp_path / "innocent").symlink_to("folder/secret")
    (tmp_path / "elsewhere").symlink_to(folder)
    (folder / "other-name").hardlink_to(folder / "secret")
    tracked = access()

    def work() -> None:
        os.open(tmp_path / "innocent", os.O_RDONLY)
        os.open(tmp_path / "elsewhere/../elsewhere/secret", os.O_RDONLY)
        os.chdir(folder)
        os.open("./secret", os.O_RDONLY)
        directory = os.open(tmp_path, os.O_RDONLY)
        file = os.open("folder/secret", os.O_RDONLY, dir_fd=directory)
        os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
        os.open("other-name", os.O_RDONLY)

    run(spawn, work)
    rows = told(tracked, tmp_path)

    assert short(rows, tmp_path) == [
        ("open", "/folder/secret", "", ""),
        ("open", "/folder/secret", "", ""),
        ("open", "/folder/secret", "", ""),
        ("open", "", "", ""),
        ("open", "/folder/secret", "", ""),
        ("open", "/folder/secret", "", ""),
        ("open", "/folder/other-name", "", ""),
    ]
    assert [row["links"] for row in rows if row["file_type"] == "file"] == [2] * 6
    assert {row["writing"] for row in rows} == {False}
    assert tracked.account(cgroup).lost == 0
    assert tracked.object.misses() == 0


def test_each_way_to_open_is_seen_with_its_flags(
    access: Any, spawn: Any, mounted: Any, tmp_path: Path
) -> None:
    memory = mounted("memory", "-t", "tmpfs", "none")
    path = bytes(tmp_path / "a")
    how = struct.pack("=QQQ", os.O_WRONLY | os.O_TRUNC, 0, 0)
    tracked = access()

    def work() -> None:
        libc.syscall(OPENAT, AT_FDCWD, path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o4750)
        libc.syscall(OPENAT, AT_FDCWD, path, os.O_RDONLY, 0)
        libc.syscall(OPENAT2, AT_FDCWD, path, how, len(how))
        libc.syscall(OPENAT, AT_FDCWD, path, os.O_PATH, 0)
        libc.syscall(OPENAT, AT_FDCWD, path, os.O_RDONLY | os.O_TRUNC, 0)
        os.open(memory, os.O_TMPFILE | os.O_WRONLY)

    run(spawn, work)
    *rows, unnamed = told(tracked, tmp_path)

    assert [(row["kind"], row["flags"], row["writing"]) for row in rows] == [
        ("create", "O_RDWR|O_CREAT|O_EXCL", True),
        ("open", "O_RDONLY", False),
        ("open", "O_WRONLY|O_TRUNC", True),
        ("open", "O_RDONLY|O_PATH", False),
        ("open", "O_RDONLY|O_TRUNC", True),
    ]
    assert {row["path"] for row in rows} == {str(tmp_path / "a")}
    assert {row["mode"] for row in rows} == {"4750"}
    assert (unnamed["links"], unnamed["writing"]) == (0, True)


def test_the_older_calls_that_open_are_seen_as_well(
    access: Any, spawn: Any, tmp_path: Path
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("this machine has neither open(2) nor creat(2)")
    path = bytes(tmp_path / "file")
    tracked = access()

    run(spawn, lambda: (libc.syscall(85, path, 0o600), libc.syscall(2, path, os.O_RDONLY)))

    rows = told(tracked, tmp_path)
    assert [(row["kind"], row["writing"]) for row in rows] == [("create", True), ("open", False)]


def test_a_path_that_is_rewritten_during_the_open_changes_nothing(
    access: Any, spawn: Any, tmp_path: Path
) -> None:
    places = [tmp_path / name for name in ("first", "other")]
    for place in places:
        place.touch()
    shown = tmp_path / "shown"
    tracked = access(ring_bytes=1 << 21, **NAMES)
    wanted(tracked, names=("first", "other"))

    def work() -> None:
        text = ctypes.create_string_buffer(bytes(places[0]))
        name = ctypes.addressof(text) + len(bytes(tmp_path)) + 1
        stop = threading.Event()

        def rewrite() -> None:
            while not stop.is_set():
                ctypes.memmove(name, b"other", 5)
                ctypes.memmove(name, b"first", 5)

        rewriter = threading.Thread(target=rewrite)
        rewriter.start()
        opened: list[str] = []
        for _ in range(3000):
            file = libc.open(text, os.O_RDONLY)
            if file >= 0:
                opened.append(os.readlink(f"/proc/self/fd/{file}"))
                os.close(file)
        stop.set()
        rewriter.join()
        shown.write_text("\n".join(opened))

    run(spawn, work)

    opened = shown.read_text().splitlines()
    assert set(opened) == {str(place) for place in places}
    assert [row["path"] for row in told(tracked, tmp_path)] == opened


def test_a_file_that_is_moved_meanwhile_is_told_by_a_name_it_had(
    access: Any, spawn: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    tracked = access(where_kind=struct.pack("=2q", 1, 1))

    def work() -> None:
        stop = threading.Event()

        def move() -> None:
            while not stop.is_set():
                first.rename(second)
                second.rename(first)

        mover = threading.Thread(target=move)
        mover.start()
        # The two threads may keep step: by one name alone, none might ever be there.
        for name in [first, second] * 500:
            found = libc.open(bytes(name), os.O_RDONLY | os.O_CLOEXEC)
            if found >= 0:
                os.close(found)
        stop.set()
        mover.join()

    run(spawn, work)

    paths = {row["path"] for row in told(tracked, tmp_path)}
    assert paths
    assert paths <= {str(first), str(second)}


def test_who_changes_the_root_changes_no_path(access: Any, spawn: Any, mounted: Any) -> None:
    """chroot(2) is in the default set of capabilities: it must not hide a file from a rule."""
    root = mounted("root", "-t", "tmpfs", "none")
    (root / "etc").mkdir()
    (root / "etc/shadow-test").touch()
    tracked = access(**asked(EVERY))
    wanted(tracked, prefixes=(f"{root}/etc/shadow", f"{root.parent}/left-test"))

    def work() -> None:
        outside = os.open(root.parent, os.O_RDONLY)
        os.chroot(root)
        os.chdir("/etc")
        os.open("shadow-test", os.O_RDONLY)
        os.unlink("../etc/../../etc/shadow-test")
        os.mkdir("left-test", dir_fd=outside)

    run(spawn, work)

    assert short(told(tracked, "-test"), root) == [
        ("open", "/etc/shadow-test", "", ""),
        ("delete", "/etc/shadow-test", "", ""),
        ("create", f"{root.parent}/left-test", "", ""),
    ]


def test_mounts_of_its_own_namespace_are_followed(access: Any, spawn: Any, tmp_path: Path) -> None:
    for name in ("hidden", "shown"):
        (tmp_path / name).mkdir()
    (tmp_path / "hidden/file").touch()
    (tmp_path / "one").touch()
    tracked = access(where_writing=struct.pack("=2q", 0, 0), **NAMES)
    wanted(tracked, names=("file", "one"))

    def work() -> None:
        libc.unshare(CLONE_NEWNS)
        libc.mount(b"none", b"/", None, MS_PRIVATE, None)
        libc.mount(bytes(tmp_path / "hidden"), bytes(tmp_path / "shown"), None, MS_BIND, None)
        os.open(tmp_path / "shown/file", os.O_RDONLY)
        libc.mount(bytes(tmp_path / "hidden/file"), bytes(tmp_path / "one"), None, MS_BIND, None)
        os.open(tmp_path / "one", os.O_RDONLY)

    run(spawn, work)

    assert short(told(tracked, tmp_path), tmp_path) == [
        ("open", "/shown/file", "", ""),
        ("open", "/one", "", ""),
    ]


OWN = "where_filesystem_path_as_path"


def own_paths(rows: list[Row], below: Path | str) -> list[tuple[str, str]]:
    """Return each path and the one in the file's own file system, without the directory."""
    return [
        (row["path"].replace(str(below), ""), row["filesystem_path"].replace(str(below), ""))
        for row in rows
    ]


def test_no_mount_makes_a_file_another_one_in_its_own_file_system(
    access: Any, spawn: Any, mounted: Any, tmp_path: Path
) -> None:
    memory = mounted("memory", "-t", "tmpfs", "none")
    for folder in ("etc/cron.d", "etc/other"):
        (memory / folder).mkdir(parents=True)
    for file in ("etc/shadow", "etc/cron.d/job", "etc/other/job"):
        (memory / file).touch()
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
    (tmp_path / "one").touch()
    tracked = access(**asked(EVERY, EVERY), **{OWN: True})
    wanted(tracked, names=("shadow",), prefixes=("/etc/cron.d/",))

    def bind(what: str, place: str) -> None:
        libc.mount(bytes(memory / what), bytes(tmp_path / place), None, MS_BIND, None)

    def work() -> None:
        libc.unshare(CLONE_NEWNS)
        libc.mount(b"none", b"/", None, MS_PRIVATE, None)
        bind("etc", "x")
        bind("etc/cron.d", "y")
        bind("etc/shadow", "one")
        for path in ("x/shadow", "x/cron.d/job", "x/other/job", "y/job", "one"):
            os.open(tmp_path / path, os.O_RDONLY)
        os.chdir(tmp_path / "y")
        os.unlink("job")
        os.mkdir(tmp_path / "y/../y/made")  # what is mounted on the way of a text is not looked for
        os.fchmod(os.open(tmp_path / "one", os.O_RDONLY), 0o600)

    run(spawn, work)

    assert own_paths(told(tracked, tmp_path), tmp_path) == [
        ("/x/shadow", "/etc/shadow"),
        ("/x/cron.d/job", "/etc/cron.d/job"),
        ("/y/job", "/etc/cron.d/job"),
        ("/one", "/etc/shadow"),
        ("/y/job", "/etc/cron.d/job"),
        ("/one", "/etc/shadow"),
        ("/one", "/etc/shadow"),
    ]


def test_a_file_of_another_namespace_has_its_own_path_as_well(
    access: Any, spawn: Any, mounted: Any
) -> None:
    memory = mounted("memory", "-t", "tmpfs", "none")
    (memory / "of-another").touch()
    outside = f"/proc/{os.getpid()}/root"
    tracked = access()

    def work() -> None:
        libc.unshare(CLONE_NEWNS)
        os.open(f"{outside}{memory}/of-another", os.O_RDONLY)

    run(spawn, work)

    assert own_paths(told(tracked, "/of-another"), memory) == [
        ("(unreachable)/of-another", "/of-another")
    ]


def live_in_an_overlay(memory: Path) -> None:
    """Make an overlay over the root the root of a mount namespace, as a runtime does."""
    layers = f"lowerdir=/,upperdir={memory}/upper,workdir={memory}/work"
    libc.unshare(CLONE_NEWNS)
    libc.mount(b"none", b"/", None, MS_PRIVATE, None)
    libc.mount(b"overlay", bytes(memory / "root"), b"overlay", 0, layers.encode())
    os.chdir(memory / "root")
    libc.mount(b"proc", b"proc", b"proc", 0, None)
    libc.syscall(PIVOT_ROOT, b".", b".")
    libc.umount2(b".", MNT_DETACH)
    os.chdir("/")


def test_where_nothing_is_mounted_both_paths_are_one(access: Any, spawn: Any, mounted: Any) -> None:
    memory = mounted("memory", "-t", "tmpfs", "none")
    for name in ("upper", "work", "root"):
        (memory / name).mkdir()
    tracked = access()

    def work() -> None:
        os.open("/", os.O_RDONLY)
        live_in_an_overlay(memory)
        os.open("/nowhere-else", os.O_CREAT)
        os.unlink("/nowhere-else")
        os.open("/proc/self/status", os.O_RDONLY)

    run(spawn, work)
    rows = tracked.rows()
    kinds = rows.text("kind")
    mine = [i for i, kind in enumerate(kinds) if kind not in {"mount", "umount", "pivot"}]
    pairs = list(zip(rows.text("path"), rows.text("filesystem_path"), strict=True))
    (root, made, gone, (status, there)) = (pairs[i] for i in mine)

    assert root == ("/", "/")
    assert made == gone == ("/nowhere-else", "/nowhere-else")
    assert status == f"/proc{there}"
    assert rows.fixed["root_filesystem"][mine].tolist() == [True, True, True, False]
    once, twice = (rows.fixed[name][mine[1]] for name in ("path", "filesystem_path"))
    assert once == twice  # the text is sent once


def test_a_container_has_a_file_of_the_node_only_by_a_mount(
    access: Any, spawn: Any, mounted: Any, tmp_path: Path
) -> None:
    (tmp_path / "of-the-node").touch()
    memory = mounted("memory", "-t", "tmpfs", "none")
    if os.stat(tmp_path).st_dev != os.stat("/").st_dev:
        pytest.skip("needs a folder for temporary files on the root's file system")
    for name in ("upper", "work", "root"):
        (memory / name).mkdir()
    tracked = access()

    def work() -> None:
        folder = os.open(tmp_path, os.O_PATH)
        live_in_an_overlay(memory)
        os.open("/of-the-container", os.O_CREAT)
        os.open("of-the-node", os.O_RDONLY, dir_fd=folder)

    run(spawn, work)
    batch = tracked.rows()
    found = zip(batch.text("path"), batch.fixed["node_filesystem"].tolist(), strict=True)
    own = [(Path(path).name, node) for path, node in found if "/of-the-" in path]

    assert own == [("of-the-container", False), ("of-the-node", True)]


def test_a_file_of_proc_tells_whether_it_is_of_another_cgroup(
    access: Any, spawn: Any, tmp_path: Path
) -> None:
    outside = os.getpid()
    tracked = access(**NAMES)
    wanted(tracked, names=("mem", "environ"))

    def work() -> None:
        child = os.fork()
        if not child:
            time.sleep(60)
        for name in ("self/mem", f"{child}/task/{child}/mem", f"{outside}/environ"):
            os.open(f"/proc/{name}", os.O_RDONLY)
        os.kill(child, signal.SIGKILL)

    run(spawn, work)
    batch = tracked.rows()

    assert batch.fixed["foreign"].tolist() == [False, False, True]
    assert set(batch.text("filesystem")) == {"proc"}


def test_a_disk_that_is_asked_for_comes_by_whatever_name_and_nothing_else_does(
    access: Any, spawn: Any, tmp_path: Path
) -> None:
    disk = next(iter(sorted(Path("/sys/block").glob("*/dev"))), None)
    if disk is None:
        pytest.skip("needs a block device")
    major, minor = map(int, disk.read_text().split(":"))
    os.mknod(tmp_path / "x", 0o600 | stat.S_IFBLK, os.makedev(major, minor))
    (tmp_path / "y").touch()
    tracked = asking(access, {}, free=class_of(DISK, writing=False))

    def work() -> None:
        for name in ("y", "x", "y"):
            os.open(tmp_path / name, os.O_RDONLY)

    run(spawn, work)

    assert [(row["path"], row["file_type"]) for row in told(tracked, tmp_path)] == [
        (str(tmp_path / "x"), "block")
    ]


def test_a_name_under_many_mounts_is_not_passed_over(
    access: Any, spawn: Any, tmp_path: Path
) -> None:
    (tmp_path / "hidden").touch()
    (tmp_path / "secret").touch()
    tracked = access(where_writing=struct.pack("=2q", 0, 0), **NAMES)
    wanted(tracked, names=("secret",))

    def work() -> None:
        libc.unshare(CLONE_NEWNS)
        libc.mount(b"none", b"/", None, MS_PRIVATE, None)
        for _ in range(6):
            libc.mount(bytes(tmp_path / "hidden"), bytes(tmp_path / "secret"), None, MS_BIND, None)
        os.open(tmp_path / "secret", os.O_RDONLY)

    run(spawn, work)

    assert short(told(tracked, tmp_path), tmp_path) == [("open", "/secret", "", "")]


@pytest.mark.parametrize("change", [False, True])
def test_a_path_of_four_kilobytes_keeps_its_end(
    access: Any, spawn: Any, mounted: Any, change: bool
) -> None:
    root = mounted("deep", "-t", "tmpfs", "none")
    folder = "/" + "/".join(["d" * 99] * 40)
    path = f"{folder}/{'f' * (4095 - len(folder) - 1)}"
    (root / folder[1:]).mkdir(parents=True)
    tracked = access(**PREFIXES)
    wanted(tracked, prefixes=("/nowhere/",))

    def work() -> None:
        os.chroot(root)
        if change:
            os.mkdir(path)
        else:
            os.open(path, os.O_CREAT | os.O_WRONLY)

    run(spawn, work)

    assert len(path) == 4095
    assert [(row["kind"], row["path"]) for row in told(tracked, "...")] == [
        ("create", "..." + path[-239:])
    ]


def test_an_open_that_fails_is_told_on_request(
    access: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    os.chdir(tmp_path)

    def work() -> None:
        libc.open(b"./nothing/../nowhere", os.O_WRONLY)
        libc.open(b"here", os.O_CREAT | os.O_WRONLY)

    tracked = access(where_writing=struct.pack("=2q", 1, 1))
    run(spawn, work)
    assert short(told(tracked, tmp_path), tmp_path) == [("create", "/here", "", "")]
    assert tracked.account(cgroup).matched == 1

    tracked = access(failed_opens=True)
    run(spawn, work)
    rows = [row for row in told(tracked, tmp_path) if row["writing"]]
    assert short(rows, tmp_path) == [("open", "/nowhere", "", "ENOENT"), ("open", "/here", "", "")]


def open_by_io_uring(path: bytes) -> None:
    """io_uring_setup(2), one entry as in include/uapi/linux/io_uring.h, io_uring_enter(2)."""
    params = ctypes.create_string_buffer(120)
    ring = libc.syscall(425, 1, params)
    (tail,), (array,) = (struct.unpack_from("=I", params, at) for at in (44, 64))
    queue = mmap.mmap(ring, array + 4, offset=0)
    entries = mmap.mmap(ring, 64, offset=0x10000000)
    text = ctypes.create_string_buffer(path)
    openat = struct.pack(
        "=BBHiQQIIQ", 18, 0, 0, AT_FDCWD, 0, ctypes.addressof(text), 0, os.O_RDONLY, 0
    )
    entries[: len(openat)] = openat
    queue[array : array + 4] = bytes(4)
    queue[tail : tail + 4] = struct.pack("=I", 1)
    libc.syscall(426, ring, 1, 1, 1, None, 0)


def test_opens_by_io_uring_are_seen_where_functions_can_be_hooked(
    access: Any, spawn: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "file").touch()
    tracked = access()

    run(spawn, lambda: open_by_io_uring(bytes(tmp_path / "file")))

    seen = {"functions": [("open", "/file", "", "")], "calls": []}
    assert short(told(tracked, tmp_path), tmp_path) == seen[request.node.callspec.params["access"]]


def test_a_program_that_starts_is_no_open(access: Any, spawn: Any) -> None:
    tracked = access(**asked(EVERY))
    wanted(tracked, prefixes=(f"{Path('/bin/true').resolve()}\0",))

    run(spawn, lambda: os.execv("/bin/true", ["true"]))

    assert told(tracked, "/") == []


# ---- changes ----


def test_each_change_is_told_with_both_its_paths(access: Any, spawn: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tracked = access(where_kind=struct.pack("=2q", 2, 13))

    def work() -> None:
        os.chdir(tmp_path)
        here = os.open(".", os.O_RDONLY)
        file = os.open("file", os.O_RDWR)
        os.mkdir("made", 0o711)
        os.mkdir("made/in", dir_fd=here)
        os.rename("made/in", "made/.././made//moved")
        os.link("file", "made/link")
        os.symlink("/etc/shadow", "made/symlink")
        os.symlink("../up", "made/second", dir_fd=here)
        os.truncate("file", 3)
        os.ftruncate(file, 2)
        os.chmod("file", 0o4755)
        os.fchmod(file, 0o700)
        os.chown("file", 1, 1)
        os.fchown(file, 0, 0)
        os.chown("made/symlink", 0, 0, follow_symlinks=False)
        os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
        os.mkfifo("pipe", 0o640)
        os.unlink("made/link")
        os.unlink("made/second", dir_fd=here)
        os.rmdir("made/moved/")
        libc.rmdir(b"made")

    run(spawn, work)
    rows = told(tracked, tmp_path)

    assert short(rows, tmp_path) == [
        ("create", "/made", "", ""),
        ("create", "/made/in", "", ""),
        ("rename", "/made/in", "/made/moved", ""),
        ("link", "/file", "/made/link", ""),
        ("symlink", "/made/symlink", "/etc/shadow", ""),
        ("symlink", "/made/second", "../up", ""),
        ("truncate", "/file", "", ""),
        ("truncate", "/file", "", ""),
        ("chmod", "/file", "", ""),
        ("chmod", "/file", "", ""),
        ("chown", "/file", "", ""),
        ("chown", "/file", "", ""),
        ("chown", "/made/symlink", "", ""),
        ("mknod", "/disk", "", ""),
        ("mknod", "/pipe", "", ""),
        ("delete", "/made/link", "", ""),
        ("delete", "/made/second", "", ""),
        ("delete", "/made/moved", "", ""),
        ("delete", "/made", "", "ENOTEMPTY"),
    ]
    assert {row["writing"] for row in rows} == {True}
    shown = [(row["file_type"], row["mode"], row["device"]) for row in rows]
    assert shown[0] == ("directory", "0711", "0:0")
    assert shown[8:10] == [("", "4755", "0:0"), ("file", "0700", "0:0")]
    assert shown[13:15] == [("block", "0600", "259:70000"), ("fifo", "0640", "0:0")]


def test_mounts_are_told_with_what_is_mounted(access: Any, spawn: Any, tmp_path: Path) -> None:
    for name in ("a", "b", "c", "new/old"):
        (tmp_path / name).mkdir(parents=True)
    tracked = access(where_kind=struct.pack("=2q", 11, 13))

    def work() -> None:
        libc.unshare(CLONE_NEWNS)
        os.chdir(tmp_path)
        libc.mount(b"none", b"/", None, MS_PRIVATE, None)
        libc.mount(b"memory", b"a", b"tmpfs", 0, None)
        libc.mount(b"a", b"b", None, MS_BIND, None)
        libc.mount(b"/dev/none", b"c", b"nonesuch", 0, None)
        tree = libc.syscall(OPEN_TREE, AT_FDCWD, b"a", OPEN_TREE_CLONE)
        libc.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, b"c", MOVE_MOUNT_F_EMPTY_PATH)
        libc.umount2(b"c", MNT_DETACH)
        libc.mount(b"memory", b"new", b"tmpfs", 0, None)
        os.mkdir("new/old")
        libc.syscall(PIVOT_ROOT, b"new", b"new/old")

    run(spawn, work)
    rows = told(tracked, tmp_path)
    kinds = [row["filesystem"] for row in rows]

    assert [(*row, kind) for row, kind in zip(short(rows, tmp_path), kinds, strict=True)] == [
        ("mount", "/a", "memory", "", "tmpfs"),
        ("mount", "/b", "/a", "", ""),
        ("mount", "/c", "/dev/none", "ENODEV", "nonesuch"),
        ("mount", "", "/a", "", ""),
        ("mount", "/c", "/c", "", ""),
        ("umount", "/c", "", "", ""),
        ("mount", "/new", "memory", "", "tmpfs"),
        ("pivot", "/old/new", "/old/new/old", "", ""),
    ]


def test_calls_of_32_bit_programs_are_known(
    access: Any, spawn: Any, old_call: Any, tmp_path: Path
) -> None:
    tracked = access()
    path = bytes(tmp_path / "file")

    def work() -> None:
        old_call(5, path, os.O_CREAT | os.O_WRONLY, 0o600)
        old_call(15, path, 0o600)
        old_call(10, path)

    run(spawn, work)

    assert short(told(tracked, tmp_path), tmp_path) == [
        ("create", "/file", "", ""),
        ("chmod", "/file", "", ""),
        ("delete", "/file", "", ""),
    ]


# ---- what files are ----


def test_a_row_says_what_kind_of_file_it_is_and_where(
    access: Any, spawn: Any, mounted: Any, tmp_path: Path, hierarchy: Path
) -> None:
    memory = mounted("memory", "-t", "tmpfs", "none")
    for name in ("lower", "upper", "work", "merged"):
        (memory / name).mkdir()
    for name in ("image", "changed"):
        (memory / "lower" / name).write_text("x")
    layers = f"lowerdir={memory}/lower,upperdir={memory}/upper,workdir={memory}/work"
    merged = mounted("memory/merged", "-t", "overlay", "overlay", "-o", layers)
    (memory / "in-memory").touch()
    tracked = access()

    def work() -> None:
        for path in (merged / "image", memory / "in-memory", "/proc/self/status", "/dev/null"):
            os.open(path, os.O_RDONLY)
        os.open(merged / "changed", os.O_WRONLY)
        os.open(merged / "dropped", os.O_WRONLY | os.O_CREAT)
        os.open(hierarchy / "cgroup.procs", os.O_RDONLY)

    run(spawn, work)
    rows = {Path(row["path"]).name: row for row in told(tracked, "/")}

    def seen(name: str) -> tuple[Any, ...]:
        return tuple(
            rows[name][column] for column in ("filesystem", "upper", "file_type", "device")
        )

    assert seen("image") == ("overlay", False, "file", "0:0")
    assert seen("changed") == ("overlay", True, "file", "0:0")
    assert seen("dropped") == ("overlay", True, "file", "0:0")
    assert seen("in-memory") == ("tmpfs", True, "file", "0:0")
    assert seen("status") == ("proc", False, "file", "0:0")
    assert seen("null")[2:] == ("character", "1:3")
    assert seen("cgroup.procs")[:3] == ("cgroup2", False, "file")


def test_a_program_is_the_images_unless_it_was_changed_or_covered(
    access: Any, spawn: Any, mounted: Any
) -> None:
    """What an exception trusts by its path must not be another program that was put there."""
    memory = mounted("memory", "-t", "tmpfs", "none")
    for name in ("upper", "work", "root"):
        (memory / name).mkdir()
    (memory / "marker").touch()
    shutil.copy("/bin/cat", memory / "cat")
    layers = f"lowerdir=/,upperdir={memory}/upper,workdir={memory}/work"
    tracked = access(**NAMES)
    wanted(tracked, names=("marker",))

    def reads(program: str) -> None:
        child = os.fork()
        if child == 0:
            os.execv(program, [program, "/tmp/marker"])
        os.waitpid(child, 0)

    def work() -> None:
        libc.unshare(CLONE_NEWNS)
        libc.mount(b"none", b"/", None, MS_PRIVATE, None)
        libc.mount(b"overlay", bytes(memory / "root"), b"overlay", 0, layers.encode())
        os.chdir(memory / "root")
        shutil.copy(memory / "cat", "usr/bin/cat-put-there")
        shutil.copy("usr/bin/head", "usr/bin/tail")
        Path("tmp/marker").touch()
        Path("usr/bin/cat-mounted").touch()
        libc.mount(bytes(memory / "cat"), b"usr/bin/cat-mounted", None, MS_BIND, None)
        libc.mount(b"usr/bin/cat", b"usr/bin/nl", None, MS_BIND, None)
        libc.syscall(PIVOT_ROOT, b".", b".")
        libc.umount2(b".", MNT_DETACH)
        os.chdir("/")
        for name in ("cat", "head", "tail", "nl", "cat-put-there", "cat-mounted"):
            reads(f"/usr/bin/{name}")

    run(spawn, work)
    rows = tracked.rows()
    trusted = zip(rows.text("exe"), rows.fixed["exe_in_image"].tolist(), strict=True)

    assert [
        each for each in trusted if each[0].startswith("/usr/bin/") and "python" not in each[0]
    ] == [
        ("/usr/bin/cat", True),
        ("/usr/bin/head", True),
        ("/usr/bin/tail", False),
        ("/usr/bin/nl", False),
        ("/usr/bin/cat-put-there", False),
        ("/usr/bin/cat-mounted", False),
    ]


def test_a_row_says_whose_doing_it_was(access: Any, spawn: Any, tmp_path: Path) -> None:
    tracked = access()

    run(spawn, lambda: os.open(tmp_path, os.O_RDONLY))

    [row] = told(tracked, tmp_path)
    assert row["exe"] == os.readlink("/proc/self/exe")
    assert row["ppid"] == str(os.getpid())
    assert Path("/proc/self/comm").read_text().strip() in row["ancestors"]


# ---- what the kernel decides ----


def touch(folder: Path, *names: str) -> Callable[[], None]:
    def work() -> None:
        for name in names:
            os.open(folder / name, os.O_RDONLY)

    return work


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("etc/shadow", "etc/shadow-", "etc/passwd", "etcetera", "root/.ssh/id", "x" * 80):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "alias").symlink_to("etc/shadow")
    return tmp_path


OPENED = ("etc/shadow", "etc/shadow-", "etc/passwd", "etcetera", "root/.ssh/id", "alias", "x" * 80)


@pytest.mark.parametrize(
    ("prefixes", "names", "found"),
    [
        (("etc/shadow\0",), (), ["etc/shadow", "etc/shadow"]),
        (("etc/shadow",), (), ["etc/shadow", "etc/shadow-", "etc/shadow"]),
        (("etc/", "root/"), (), [*OPENED[:3], OPENED[4], "etc/shadow"]),
        ((), ("shadow",), ["etc/shadow", "etc/shadow"]),
        ((), ("id", "x" * 63), ["root/.ssh/id"]),
        (("etcetera\0",), ("id",), ["etcetera", "root/.ssh/id"]),
        (("nowhere/",), ("nothing",), []),
    ],
)
def test_only_paths_that_are_asked_for_are_matched(
    access: Any,
    spawn: Any,
    cgroup: Path,
    tree: Path,
    prefixes: tuple[str, ...],
    names: tuple[str, ...],
    found: list[str],
) -> None:
    tracked = asking(access, {EVERY: path_set([f"{tree}/{each}" for each in prefixes], names)})

    run(spawn, touch(tree, *OPENED))

    assert [row["path"] for row in told(tracked, tree)] == [f"{tree}/{path}" for path in found]
    account = tracked.account(cgroup)
    assert (account.matched, account.lost, account.limited) == (len(found), 0, 0)


def test_a_name_is_asked_of_what_stands_in_a_folder(access: Any, spawn: Any, tree: Path) -> None:
    """memfd_create(2) gives any name to a file that is in no folder: its path has no last part."""
    memory = os.memfd_create("id")
    same = tree / "memfd:id"
    same.touch()
    tracked = asking(access, {EVERY: path_set(names=("memfd:id",))})

    run(spawn, lambda: [os.open(each, os.O_RDONLY) for each in (f"/proc/self/fd/{memory}", same)])

    assert tracked.rows().text("path") == [str(same)]


def test_what_rules_most_paths_out_at_once_rules_out_none_that_is_asked_for(
    access: Any, spawn: Any, cgroup: Path, tree: Path, mounted: Any
) -> None:
    """Below many folders, on other mounts and their roots, behind long names, and nowhere."""
    deep = tree / "/".join("abcdefgh") / "file"
    deep.parent.mkdir(parents=True)
    deep.touch()
    mounted("over", "--bind", str(tree / "etc"))
    lost = tree / "lost"
    lost.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", lost], check=True)
    (lost / "file").touch()
    inside = os.open(lost, os.O_PATH)
    subprocess.run(["umount", "--lazy", lost], check=True)
    cut = tree / ("x" * 100) / ("y" * 200)
    cut.mkdir(parents=True)
    (cut / "file").touch()
    memory = os.memfd_create("kept")
    prefixes = [f"{tree}/a/b/c/d/e/f/g/", f"{tree}/over/pass", "memfd:kept", "(unreachable)/f"]
    prefixes += [f"{cut.parent}/"]
    tracked = asking(access, {OPEN_TO_READ: path_set(prefixes)})

    def work() -> None:
        os.open(deep, os.O_RDONLY)
        os.open(deep.parent.parent, os.O_RDONLY)
        os.open(tree / "over/passwd", os.O_RDONLY)
        os.open(tree / "over", os.O_RDONLY)
        os.open("file", os.O_RDONLY, dir_fd=inside)
        os.open(f"/proc/self/fd/{memory}", os.O_RDONLY)
        os.open(cut / "file", os.O_RDONLY)
        os.open("/", os.O_RDONLY)

    run(spawn, work)

    rows = tracked.rows()
    paths = rows.text("path")
    assert [path.replace(str(tree), "") for path in paths[:-1]] == [
        "/a/b/c/d/e/f/g/h/file",
        "/over/passwd",
        "(unreachable)/file",
        "memfd:kept",
    ]
    assert paths[-1].startswith("...")
    assert tracked.account(cgroup).matched == 5


def test_changes_are_asked_for_by_path_as_opens_are(
    access: Any, spawn: Any, cgroup: Path, tree: Path
) -> None:
    def work() -> None:
        os.chmod(tree / "etc/passwd", 0o600)
        os.chmod(tree / "etc/shadow", 0o600)
        os.unlink(tree / "etcetera")
        os.unlink(tree / "root/.ssh/../.ssh/id")

    tracked = access(**BOTH)
    wanted(tracked, prefixes=(f"{tree}/root/",), names=("shadow",))
    run(spawn, work)

    assert short(told(tracked, tree), tree) == [
        ("chmod", "/etc/shadow", "", ""),
        ("delete", "/root/.ssh/id", "", ""),
    ]
    assert tracked.account(cgroup).matched == 2


def test_each_class_of_events_has_paths_of_its_own(
    access: Any, spawn: Any, cgroup: Path, tree: Path
) -> None:
    sets = {
        OPEN_TO_WRITE | CREATE: path_set([f"{tree}/etc/"]),
        OPEN_TO_READ: path_set(names=["id", "etcetera"]),
    }
    tracked = asking(access, sets, free=MOUNT)

    def work() -> None:
        for name in ("etc/shadow", "root/.ssh/id"):
            os.open(tree / name, os.O_RDONLY)
            os.open(tree / name, os.O_WRONLY)
        os.open(tree / "etc/new", os.O_CREAT | os.O_WRONLY)
        os.unlink(tree / "etc/new")
        libc.mount(b"none", bytes(tree / "etc"), b"nonesuch", 0, None)

    run(spawn, work)

    assert [(*row[:2], row[3]) for row in short(told(tracked, tree), tree)] == [
        ("open", "/etc/shadow", ""),
        ("open", "/root/.ssh/id", ""),
        ("create", "/etc/new", ""),
        ("mount", "/etc", "ENODEV"),
    ]
    assert tracked.account(cgroup).matched == 4


@pytest.mark.parametrize(
    ("column", "value", "kinds"),
    [
        ("kind", 3, ["delete", "delete"]),
        ("writing", 1, ["create", "delete", "delete"]),
        ("error", 2, ["delete"]),
    ],
)
def test_a_condition_on_a_number_decides_in_the_kernel(
    access: Any,
    spawn: Any,
    cgroup: Path,
    tmp_path: Path,
    column: str,
    value: int,
    kinds: list[str],
) -> None:
    tracked = access(**{f"where_{column}": struct.pack("=2q", value, value)})

    def work() -> None:
        os.open(tmp_path / "file", os.O_CREAT)
        os.open(tmp_path / "file", os.O_RDONLY)
        os.unlink(tmp_path / "file")
        libc.unlink(bytes(tmp_path / "file"))

    run(spawn, work)

    rows = told(tracked, tmp_path)
    assert [row["kind"] for row in rows] == kinds
    assert tracked.account(cgroup).matched == len(kinds)


def test_who_opens_what_is_asked_for_is_killed_before_it_reads(
    access: Any, spawn: Any, tree: Path
) -> None:
    deep = tree / ("d" * 200) / ("e" * 100)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    paths = path_set([f"{tree}/etc/shadow\0"])
    tracked = asking(access, {EVERY: paths}, enforcement=Enforcement.KILL)

    assert run(spawn, touch(tree, "etc/passwd", "etcetera", str(deep / "file"))) == 0

    def read() -> None:
        os.open(tree / "alias", os.O_RDONLY)
        (tree / "reached").touch()

    ended = run(spawn, read)

    assert os.WTERMSIG(ended) == signal.SIGKILL
    assert not (tree / "reached").exists()
    assert [row["path"] for row in told(tracked, tree)] == [str(tree / "etc/shadow")]
