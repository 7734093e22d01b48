# SPDX-License-Identifier: Apache-2.0
"""Programs that start in a cgroup, and what the kernel knows of each."""

import ctypes
import json
import os
import pty
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf

CLONE_NEWNS = 0x20000
CLONE_NEWUTS = 0x4000000
MFD_CLOEXEC = 1
ALL_NAMESPACES = "mnt|pid|net|ipc|uts|user|cgroup"

Row = dict[str, Any]
Execute = Callable[..., Row]


def rows_of(batch: Any) -> list[Row]:
    names = [c.name for c in batch.layout.columns if not c.internal and c.name != "time"]
    columns = [[json.loads(value) for value in batch.json(name)] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


@pytest.fixture
def execute(track: Any, spawn: Any) -> Execute:
    """Do something in the cgroup that starts one program, and return the row of that."""

    def run(function: Callable[[], object], **params: Any) -> Row:
        tracked = track("execution", **params)
        os.waitpid(spawn(function), 0)
        (row,) = rows_of(tracked.rows())
        return row

    return run


def true(path: str | Path = "/bin/true", **environment: str) -> Callable[[], None]:
    return lambda: os.execve(path, ["true"], environment)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A copy of /bin/true on a disk, without links on the way."""
    return Path(shutil.copy2("/bin/true", tmp_path.resolve() / "innocent"))


def test_a_program_is_told_by_its_file_its_parent_and_its_ancestors(execute: Execute) -> None:
    def call() -> None:
        os.setsid()  # without the terminal of whoever runs the tests
        os.chdir("/usr/bin")
        os.execv("true", ["name of its own", "a b", ""])

    row = execute(call)

    assert row["path"] == row["exe"] == os.path.realpath("/bin/true")
    assert row["filename"] == "true"
    assert row["cwd"] == "/usr/bin"
    assert row["args"] == ["name of its own", "a b", ""]
    assert row["comm"] == "true"
    assert row["parent_exe"] == os.path.realpath("/proc/self/exe")
    assert row["ppid"] == row["ancestor_pids"][0] == os.getpid()
    assert row["ancestor_pids"][1] == os.getppid()
    assert row["ancestors"][0] == Path("/proc/self/comm").read_text().strip()
    assert len(row["ancestors"]) == sum(pid > 0 for pid in row["ancestor_pids"]) <= 6
    assert row["host_namespaces"] == ALL_NAMESPACES
    flags = ("memfd", "deleted", "upper", "setuid", "tty", "namespaces_changed")
    assert {name: row[name] for name in flags} == dict.fromkeys(flags, False)
    assert (row["interpreter"], row["preload"]) == ("", "")
    assert (row["remote"], row["remote_port"]) == ("::", 0)
    assert row["uid"] == row["euid"] == 0


def test_what_runs_from_memory_has_no_path_whatever_its_name(execute: Execute) -> None:
    def call() -> None:
        fd = os.memfd_create("/usr/bin/true", MFD_CLOEXEC)
        os.write(fd, Path("/bin/true").read_bytes())
        os.execve(fd, ["true"], {})

    row = execute(call)

    assert row["memfd"] is True
    assert row["deleted"] is True
    assert row["upper"] is True
    assert row["path"] == "memfd:/usr/bin/true"


def test_a_program_that_was_deleted_before_it_ran_is_no_memfd(execute: Execute, here: Path) -> None:
    def call() -> None:
        fd = os.open(here, os.O_RDONLY | os.O_CLOEXEC)
        here.unlink()
        os.execve(fd, ["true"], {})

    row = execute(call)

    assert (row["deleted"], row["memfd"]) == (True, False)


def test_the_age_of_a_program_is_that_of_its_last_change_and_not_what_it_says(
    execute: Execute, here: Path
) -> None:
    os.utime(here, (0, 0))  # seen as 1970 by all that look at the time of its content
    changed = here.stat().st_ctime
    time.sleep(0.2)
    before = time.time()

    row = execute(true(here))

    assert (before - changed) * 1e9 <= row["age"] <= (time.time() - changed) * 1e9
    assert row["path"] == str(here)


def test_a_link_is_told_by_what_it_leads_to(execute: Execute, here: Path) -> None:
    link = here.with_name("link")
    link.symlink_to(here)

    row = execute(true(link))

    assert (row["filename"], row["path"]) == (str(link), str(here))


def test_a_hard_link_that_hides_what_a_program_is_called_makes_it_young(
    execute: Execute, here: Path
) -> None:
    hidden = here.with_name("hidden")
    os.link(here, hidden)

    row = execute(true(hidden))

    assert row["path"] == str(hidden)
    assert row["age"] < 10e9


def test_a_script_is_told_by_its_interpreter_and_its_name(execute: Execute, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n:\n")
    script.chmod(0o755)

    row = execute(lambda: os.execv(script, ["whatever", "x"]))

    assert row["path"] == os.path.realpath("/bin/sh")
    assert (row["filename"], row["interpreter"]) == (str(script), "/bin/sh")
    assert row["args"] == ["/bin/sh", str(script), "x"]


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """The root of a container: an image with /bin/true in it, and an upper layer."""
    lower, upper, work, merged = (tmp_path / n for n in ("lower", "upper", "work", "merged"))
    for path in (lower, upper, work, merged):
        path.mkdir()
    shutil.copy2("/bin/true", lower / "image")
    shutil.copy2("/bin/true", lower / "changed")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    command: list[str | Path] = ["mount", "-t", "overlay", "overlay", "-o", options, merged]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this kernel mounts no overlay here")
    yield merged
    subprocess.run(["umount", merged], check=True)


@pytest.mark.parametrize(("name", "upper"), [("image", False), ("changed", True), ("new", True)])
def test_what_came_after_the_image_is_in_the_upper_layer(
    execute: Execute, overlay: Path, name: str, upper: bool
) -> None:
    shutil.copy2("/bin/true", overlay / "new")
    (overlay / "changed").open("ab").close()

    row = execute(true(overlay / name))

    assert row["upper"] is upper
    assert row["path"] == str((overlay / name).resolve())


def test_a_file_in_shared_memory_counts_as_dropped(execute: Execute) -> None:
    dropped = Path(f"/dev/shm/eunomia-test-{os.getpid()}")
    if subprocess.run(["findmnt", "-n", "-t", "tmpfs", "/dev/shm"], check=False).returncode:
        pytest.skip("/dev/shm is no tmpfs here")
    shutil.copy2("/bin/true", dropped)
    try:
        row = execute(true(dropped))
    finally:
        dropped.unlink()

    assert (row["upper"], row["memfd"], row["deleted"]) == (True, False, False)


def streams(row: Row) -> tuple[str, ...]:
    return row["stdin"], row["stdout"], row["stderr"]


def test_each_standard_stream_is_told_by_what_it_is(execute: Execute, tmp_path: Path) -> None:
    def call() -> None:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(os.pipe()[1], 1)
        os.dup2(os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY), 2)
        os.execv("/bin/true", ["true"])

    assert streams(execute(call)) == ("device", "pipe", "file")


def test_streams_that_are_closed_or_something_else_are_told_too(execute: Execute) -> None:
    def call() -> None:
        os.dup2(os.eventfd(0, 0), 1)
        os.dup2(os.open("/", os.O_RDONLY), 2)
        os.close(0)
        os.execv("/bin/true", ["true"])

    assert streams(execute(call)) == ("none", "other", "other")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_shell_whose_streams_are_a_connection_tells_the_other_end(
    execute: Execute, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]

        def call() -> None:
            connection = socket.create_connection((address, port))
            for stream in range(3):
                os.dup2(connection.fileno(), stream)
            os.execv("/bin/true", ["true"])

        row = execute(call)

    assert streams(row) == ("socket",) * 3
    assert (row["remote"], row["remote_port"]) == (address, port)


def test_a_unix_socket_as_a_stream_has_no_other_end_on_a_network(execute: Execute) -> None:
    def call() -> None:
        one, _ = socket.socketpair()
        os.dup2(one.fileno(), 0)
        os.execv("/bin/true", ["true"])

    row = execute(call)

    assert row["stdin"] == "socket"
    assert (row["remote"], row["remote_port"]) == ("::", 0)


def test_a_terminal_is_known_by_its_device_and_by_who_controls_it(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    def call() -> None:
        child, end = pty.fork()
        if not child:
            os.execv("/bin/true", ["true"])
        os.waitpid(child, 0)
        os.close(end)

    tracked = track("execution")
    os.waitpid(spawn(call), 0)
    (row,) = rows_of(tracked.rows())

    assert streams(row) == ("tty",) * 3
    assert row["tty"] is True
    assert tracked.account(cgroup).matched == 1


def test_a_program_that_gains_privilege_says_so(execute: Execute, here: Path) -> None:
    os.chown(here, 0, 0)
    here.chmod(0o4755)
    for folder in here.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o111)

    def call() -> None:
        os.setresuid(65534, 65534, 65534)
        os.execv(here, ["true"])

    row = execute(call)

    assert (row["setuid"], row["uid"], row["euid"]) == (True, 65534, 0)


@pytest.mark.parametrize(
    ("environment", "preload"),
    [
        ({"LD_PRELOAD": "/tmp/evil.so"}, "/tmp/evil.so"),
        ({"A": "x" * 5000, "B": "LD_PRELOAD=no", "LD_PRELOAD": "/a b"}, "/a b"),
        ({f"V{i}": "" for i in range(900)} | {"LD_PRELOAD": "late"}, "late"),
        ({"LD_AUDIT": "/tmp/audit.so"}, "/tmp/audit.so"),
        ({"LD_PRELOAD": "", "LD_LIBRARY_PATH": "/x"}, ""),
        ({"LD_PRELOADED": "x", "XLD_PRELOAD": "y", "L": "LD_PRELOAD=z"}, ""),
        ({"A": "x" * 1023 + "LD_PRELOAD=no", "B": "y" * 1022}, ""),
    ],
)
def test_libraries_that_the_environment_brings_in_are_found(
    execute: Execute, environment: dict[str, str], preload: str
) -> None:
    assert execute(true(**environment))["preload"] == preload


def test_another_namespace_than_the_hosts_and_the_parents_is_told(execute: Execute) -> None:
    def call() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS | CLONE_NEWUTS):
            os._exit(1)
        os.execv("/bin/true", ["true"])

    row = execute(call)

    assert row["host_namespaces"] == "pid|net|ipc|user|cgroup"
    assert row["namespaces_changed"] is True


def test_a_namespace_of_process_ids_is_that_which_the_process_is_in(track: Any, spawn: Any) -> None:
    script = "unshare --fork --pid /bin/true"
    tracked = track("execution")
    os.waitpid(spawn(lambda: os.execv("/bin/sh", ["sh", "-c", script])), 0)

    seen = {Path(row["path"]).name: row for row in rows_of(tracked.rows())}

    inside = seen["true"]
    assert "pid" in seen["unshare"]["host_namespaces"].split("|")
    assert "pid" not in inside["host_namespaces"].split("|")
    assert inside["ancestors"][0] == "unshare"


def test_conditions_are_decided_in_the_kernel(track: Any, spawn: Any, cgroup: Path) -> None:
    wanted = struct.pack("=2q", 1, 1)
    tracked = track("execution", where_memfd=wanted)

    def from_memory() -> None:
        fd = os.memfd_create("x", MFD_CLOEXEC)
        os.write(fd, Path("/bin/true").read_bytes())
        os.execve(fd, ["true"], {})

    os.waitpid(spawn(true()), 0)
    os.waitpid(spawn(from_memory), 0)

    assert [row["path"] for row in rows_of(tracked.rows())] == ["memfd:x"]
    assert tracked.account(cgroup).matched == 1


def test_a_storm_of_programs_is_complete(track: Any, spawn: Any, cgroup: Path) -> None:
    tracked = track("execution", ring_bytes=1 << 22)
    script = "i=0; while [ $i -lt 300 ]; do /bin/true marker; i=$((i+1)); done"
    os.waitpid(spawn(lambda: os.execv("/bin/sh", ["sh", "-c", script])), 0)

    seen = rows_of(tracked.rows())

    assert sum(row["args"] == ["/bin/true", "marker"] for row in seen) == 300
    account = tracked.account(cgroup)
    assert (account.matched, account.lost, len(seen)) == (301, 0, 301)


def test_a_program_in_folders_too_deep_to_tell_passes_a_condition_on_its_beginning(
    track: Any, spawn: Any, tmp_path: Path
) -> None:
    """Which is what the built-in rule about such paths asks for."""
    deep = tmp_path / ("a" * 200) / ("b" * 200)
    deep.mkdir(parents=True)
    shutil.copy("/bin/true", deep / "program")
    used = {"where_path_used": struct.pack("=2I", 2**32 - 1, 0), "where_path_free": 0}
    tracked = track("execution", **used)

    pid = spawn(lambda: os.execv(deep / "program", ["program"]))
    os.waitpid(pid, 0)

    (path,) = tracked.rows().text("path")
    assert path.startswith("...")
    assert path.endswith("b/program")
