# SPDX-License-Identifier: Apache-2.0
"""System calls that reach beyond their process: each told once, with what it was about."""

import ctypes
import errno
import json
import os
import platform
import shutil
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)
Row = dict[str, Any]
Watch = Callable[..., list[Row]]

NUMBERS = {
    "x86_64": {"setns": 308, "unshare": 272, "ptrace": 101, "setuid": 105, "setresuid": 117}
    | {"init_module": 175, "finit_module": 313, "delete_module": 176, "process_vm_readv": 310}
    | {"io_uring_setup": 425, "userfaultfd": 323, "bpf": 321, "keyctl": 250, "clone": 56}
    | {"clone3": 435, "personality": 135, "prctl": 157, "fsopen": 430, "fsconfig": 431}
    | {"move_mount": 429, "reboot": 169, "syslog": 103, "capset": 126, "acct": 163}
    | {"pidfd_getfd": 438, "pidfd_send_signal": 424, "kexec_load": 246, "add_key": 248}
    | {"perf_event_open": 298, "open_by_handle_at": 304, "name_to_handle_at": 303},
    "aarch64": {"setns": 268, "unshare": 97, "ptrace": 117, "setuid": 146, "setresuid": 147}
    | {"init_module": 105, "finit_module": 273, "delete_module": 106, "process_vm_readv": 270}
    | {"io_uring_setup": 425, "userfaultfd": 282, "bpf": 280, "keyctl": 219, "clone": 220}
    | {"clone3": 435, "personality": 92, "prctl": 167, "fsopen": 430, "fsconfig": 431}
    | {"move_mount": 429, "reboot": 142, "syslog": 116, "capset": 91, "acct": 89}
    | {"pidfd_getfd": 438, "pidfd_send_signal": 424, "kexec_load": 104, "add_key": 217}
    | {"perf_event_open": 241, "open_by_handle_at": 265, "name_to_handle_at": 264},
}
NUMBER = NUMBERS[platform.machine()]
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWPID = 0x20000, 0x4000000, 0x20000000
CLONE_NEWNET, CLONE_NEWTIME, CLONE_FS = 0x40000000, 0x80, 0x200
NOBODY, BAD = 65534, 2**30


def call(name: str, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(NUMBER[name]), *words)
    return result


def rows_of(batch: Any) -> list[Row]:
    names = [c.name for c in batch.layout.columns if not c.internal and c.name != "time"]
    columns = [[json.loads(value) for value in batch.json(name)] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


@pytest.fixture
def watch(track: Any, spawn: Any) -> Watch:
    """Do something in the cgroup, and return all rows of that."""

    def run(function: Callable[[], object], **params: Any) -> list[Row]:
        tracked = track("privileged", **params)
        os.waitpid(spawn(function), 0)
        return rows_of(tracked.rows())

    return run


@pytest.fixture
def watch_one(watch: Watch) -> Callable[..., Row]:
    def run(function: Callable[[], object], **params: Any) -> Row:
        (row,) = watch(function, **params)
        return row

    return run


WatchOne = Callable[..., Row]


def of(row: Row, *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


# ---- processes ----


@pytest.fixture
def stranger(spawn: Any, make_cgroup: Any) -> int:
    """A process of another cgroup."""
    pid: int = spawn(signal.pause, make_cgroup("stranger"))
    time.sleep(0.05)
    return pid


PTRACE_SEIZE, PTRACE_PEEKDATA = 0x4206, 2


def test_to_trace_a_process_of_another_container_tells_which(
    watch_one: WatchOne, stranger: int
) -> None:
    row = watch_one(lambda: call("ptrace", PTRACE_SEIZE, stranger, 0, 0))

    assert of(row, "call", "error", "request") == ("ptrace", "", PTRACE_SEIZE)
    assert of(row, "target_pid", "foreign") == (stranger, True)
    assert row["target_comm"] == Path(f"/proc/{stranger}/comm").read_text().strip()
    assert row["exe"] == os.path.realpath("/proc/self/exe")
    assert row["ppid"] == row["ancestor_pids"][0] == os.getpid()
    assert row["arguments"][:2] == [PTRACE_SEIZE, stranger]


def test_to_trace_a_process_of_the_same_container_is_not_foreign(watch: Watch) -> None:
    def calls() -> None:
        child = os.fork()
        if not child:
            signal.pause()
        call("ptrace", PTRACE_SEIZE, child, 0, 0)
        call("ptrace", PTRACE_PEEKDATA, child, 0, 0)  # one of millions of a debugger
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    (row,) = watch(calls)

    assert of(row, "call", "foreign") == ("ptrace", False)
    assert row["target_pid"] == row["arguments"][1]


def test_a_number_in_another_pid_namespace_is_that_process_and_not_the_hosts(
    track: Any, spawn: Any
) -> None:
    def calls() -> None:
        libc.unshare(CLONE_NEWPID)
        init = os.fork()
        if not init:
            child = os.fork()
            if not child:
                signal.pause()
            call("process_vm_readv", child, 0, 0, 0, 0, 0)
            os.kill(child, signal.SIGKILL)
            os._exit(0)
        os.waitpid(init, 0)

    tracked = track("privileged")
    os.waitpid(spawn(calls), 0)
    unshared, row = rows_of(tracked.rows())

    assert of(unshared, "call", "namespaces", "error") == ("unshare", "pid", "")
    assert of(row, "call", "foreign") == ("process_vm_readv", False)
    assert row["arguments"][0] == 2, "its number in there"
    assert row["target_pid"] > row["pid"] > 2, "the host's numbers, of a child and its parent"


def test_only_signals_to_other_containers_are_told(watch: Watch, stranger: int) -> None:
    def calls() -> None:
        os.kill(os.getpid(), 0)
        os.kill(os.getppid(), 0)  # this one is in another cgroup as well
        os.kill(stranger, signal.SIGCONT)
        with suppress(ProcessLookupError):
            os.kill(BAD, 0)
        pidfd = os.pidfd_open(stranger)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)

    rows = watch(calls)

    assert [of(row, "call", "target_pid", "request", "foreign") for row in rows] == [
        ("kill", os.getpid(), 0, True),
        ("kill", stranger, signal.SIGCONT, True),
        ("pidfd_send_signal", stranger, signal.SIGCONT, True),
    ]


def test_a_descriptor_taken_from_another_process_tells_whose(
    watch_one: WatchOne, stranger: int
) -> None:
    row = watch_one(lambda: call("pidfd_getfd", os.pidfd_open(stranger), 0, 0))

    assert of(row, "call", "error", "target_pid", "foreign") == ("pidfd_getfd", "", stranger, True)
    assert row["result"] >= 0


def test_a_descriptor_that_is_no_pidfd_is_nobodys(watch_one: WatchOne) -> None:
    row = watch_one(lambda: call("pidfd_getfd", os.open("/", os.O_RDONLY), 0, 0))

    assert of(row, "error", "target_pid", "foreign") == ("EBADF", 0, False)


# ---- namespaces ----


def test_new_namespaces_are_told_by_name_and_old_ones_not_at_all(watch: Watch) -> None:
    def calls() -> None:
        call("unshare", CLONE_FS)
        call("unshare", CLONE_NEWNS | CLONE_NEWUTS)
        call("unshare", CLONE_NEWTIME)
        child = call("clone", CLONE_NEWNET | signal.SIGCHLD, 0, 0, 0, 0)
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        arguments = ctypes.create_string_buffer(
            struct.pack("=11Q", CLONE_NEWPID | CLONE_NEWTIME, 0, 0, 0, signal.SIGCHLD, *[0] * 6), 88
        )
        child = call("clone3", ctypes.addressof(arguments), 88)
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)

    rows = watch(calls)

    assert [of(row, "call", "namespaces", "host") for row in rows] == [
        ("unshare", "mnt|uts", False),
        ("unshare", "time", False),
        ("clone", "net", False),
        ("clone3", "pid|time", False),
    ]
    assert rows[2]["result"] > 0, "the end of the parent's call, and not of the child's"


def test_to_enter_the_hosts_namespace_is_seen_by_the_namespace_and_not_by_its_path(
    watch: Watch,
) -> None:
    def calls() -> None:
        host = os.open("/proc/self/ns/uts", os.O_RDONLY)
        call("unshare", CLONE_NEWUTS)
        mine = os.open("/proc/self/ns/uts", os.O_RDONLY)
        call("setns", host, 0)
        call("setns", mine, 0)
        call("setns", host, CLONE_NEWNET)  # it is no network
        call("setns", os.open("/", os.O_RDONLY), 0)

    rows = watch(calls)[1:]

    assert [of(row, "call", "error", "namespaces", "host") for row in rows] == [
        ("setns", "", "uts", True),
        ("setns", "", "uts", False),
        ("setns", "EINVAL", "net|uts", True),
        ("setns", "EINVAL", "", False),
    ]


def test_to_enter_the_namespaces_of_a_process_tells_whose_they_are(
    watch: Watch, stranger: int
) -> None:
    def calls() -> None:
        call("unshare", CLONE_NEWUTS)
        call("setns", os.pidfd_open(stranger), CLONE_NEWUTS)

    row = watch(calls)[1]

    assert of(row, "call", "error", "namespaces", "host") == ("setns", "", "uts", True)
    assert of(row, "target_pid", "foreign") == (stranger, True)


def test_a_namespace_that_one_may_not_enter_is_told_with_the_refusal(watch: Watch) -> None:
    def calls() -> None:
        host = os.open("/proc/self/ns/net", os.O_RDONLY)
        call("unshare", CLONE_NEWNET)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("setns", host, 0)

    row = watch(calls)[-1]

    assert of(row, "call", "error", "namespaces", "host") == ("setns", "EPERM", "net", True)


def test_another_root_and_another_name_are_told(watch: Watch, tmp_path: Path) -> None:
    def calls() -> None:
        call("unshare", CLONE_NEWUTS)
        libc.sethostname(b"other-name-and-more", 10)
        os.chroot(tmp_path)
        with suppress(OSError):
            os.chroot("/none")

    rows = watch(calls)[1:]

    assert [of(row, "call", "error", "text") for row in rows] == [
        ("sethostname", "", "other-name"),
        ("chroot", "", str(tmp_path)),
        ("chroot", "ENOENT", "/none"),
    ]


# ---- identities ----


def test_users_that_change_are_told_before_and_after_and_others_are_not(watch: Watch) -> None:
    def calls() -> None:
        os.setuid(0)
        os.setresuid(-1, NOBODY, 0)
        os.setresuid(-1, 0, -1)  # back to what it had kept
        os.setgid(NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        os.setuid(NOBODY)
        with suppress(PermissionError):
            os.setuid(0)

    rows = watch(calls)

    assert [
        of(row, "call", "error", "old_uid", "new_uid", "old_gid", "new_gid") for row in rows
    ] == [
        ("setresuid", "", 0, NOBODY, 0, 0),
        ("setresuid", "", NOBODY, 0, 0, 0),
        ("setgid", "", 0, 0, 0, NOBODY),
        ("setresuid", "", 0, NOBODY, NOBODY, NOBODY),
        ("setuid", "EPERM", NOBODY, NOBODY, NOBODY, NOBODY),
    ]


def test_a_child_that_becomes_what_it_is_already_is_no_change(watch: Watch) -> None:
    def calls() -> None:
        os.setresuid(-1, NOBODY, 0)
        child = os.fork()
        if not child:
            os.seteuid(NOBODY)
            os.seteuid(0)
            os._exit(0)
        os.waitpid(child, 0)

    rows = watch(calls)

    assert [of(row, "old_uid", "new_uid") for row in rows] == [(0, NOBODY), (NOBODY, 0)]
    assert rows[0]["pid"] == rows[1]["ppid"]


def test_a_program_that_runs_as_another_user_begins_as_that(watch: Watch, tmp_path: Path) -> None:
    program = Path(shutil.copy2(os.path.realpath("/proc/self/exe"), tmp_path / "python"))
    program.chmod(0o4755)
    for folder in program.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o111)
    script = f"import os; os.setuid(0); os.setuid({NOBODY})"

    def calls() -> None:
        os.setresuid(-1, 1, -1)
        os.execv(program, ["python", "-I", "-c", script])

    rows = watch(calls)

    assert [of(row, "old_uid", "new_uid") for row in rows] == [(0, 1), (0, NOBODY)]


# ---- the kernel, and its interfaces ----


def test_modules_that_are_refused_are_told(watch: Watch, tmp_path: Path) -> None:
    module = tmp_path.resolve() / "evil.ko"
    module.write_bytes(b"no module")

    def calls() -> None:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("init_module", b"no module", 9, b"param=1")
        call("finit_module", fd, b"", 0)
        call("delete_module", b"innocent", os.O_NONBLOCK)
        call("kexec_load", 0, 0, 0, 7)

    fd = os.open(module, os.O_RDONLY)
    rows = [row for row in watch(calls) if row["call"] != "setresuid"]
    os.close(fd)

    known = ("EPERM", "ENOSYS")  # a kernel without modules
    assert [of(row, "call", "text", "request") for row in rows] == [
        ("init_module", "param=1", 0),
        ("finit_module", str(module), 0),
        ("delete_module", "innocent", 0),
        ("kexec_load", "", 7),
    ]
    assert all(row["error"] in known for row in rows)
    assert all(row["result"] == -getattr(errno, row["error"]) for row in rows)


def test_interfaces_that_exploits_like_are_told(watch: Watch) -> None:
    def calls() -> None:
        os.memfd_create("payload", 3)
        call("io_uring_setup", 0, 0)
        call("userfaultfd", BAD)
        call("bpf", 5, 0, 0)
        call("keyctl", 0, -3, 0)
        call("add_key", b"user", b"name of a key", b"x", 1, BAD)
        call("personality", -1)
        call("personality", 0x40000)
        call("perf_event_open", 0, 0, 0, 0, 0)
        call("prctl", 15, b"name")
        call("prctl", 35, 0, 0, 0, 0)
        call("syslog", 3, 0, 0)
        call("reboot", 0, 0, 0x1234567)
        call("capset", 0, 0)
        call("acct", b"/none")

    rows = watch(calls)

    assert [of(row, "call", "request", "text") for row in rows] == [
        ("memfd_create", 3, "payload"),
        ("io_uring_setup", 0, ""),
        ("userfaultfd", 0, ""),
        ("bpf", 5, ""),
        ("keyctl", 0, ""),
        ("add_key", 0, "name of a key"),
        ("personality", 0x40000, ""),
        ("perf_event_open", 0, ""),
        ("prctl", 35, ""),
        ("syslog", 3, ""),
        ("reboot", 0x1234567, ""),
        ("capset", 0, ""),
        ("acct", 0, "/none"),
    ]
    assert (rows[0]["error"], rows[0]["result"] > 0) == ("", True)
    assert all(row["error"] for row in rows if row["call"] in ("io_uring_setup", "reboot", "acct"))


def test_mounts_by_the_newer_calls_are_told_with_what_they_name(watch: Watch) -> None:
    def calls() -> None:
        call("unshare", CLONE_NEWNS)
        fs = call("fsopen", b"tmpfs", 0)
        call("fsconfig", fs, 1, b"source", b"/dev/evil", 0)
        call("fsconfig", fs, 6, None, None, 0)
        call("move_mount", fs, b"", -100, b"/host", 4)

    rows = watch(calls)[1:]

    assert [of(row, "call", "request", "text") for row in rows] == [
        ("fsopen", 0, "tmpfs"),
        ("fsconfig", 1, "/dev/evil"),
        ("fsconfig", 6, ""),
        ("move_mount", 0, "/host"),
    ]


def test_a_file_that_is_opened_by_its_handle_is_told_by_its_path(
    watch: Watch, tmp_path: Path
) -> None:
    secret = tmp_path.resolve() / "secret"
    secret.touch()
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount_id = ctypes.c_int()

    def calls() -> None:
        address = ctypes.addressof(handle)
        call("name_to_handle_at", -100, bytes(secret), address, ctypes.addressof(mount_id), 0)
        directory = os.open(tmp_path, os.O_RDONLY)
        call("open_by_handle_at", directory, address, os.O_RDONLY)

    rows = watch(calls)
    if rows[-1]["error"]:
        pytest.skip("the file system of the test's folder gives no handles")

    assert [of(row, "call", "text") for row in rows] == [
        ("name_to_handle_at", str(secret)),
        ("open_by_handle_at", str(secret)),
    ]


# ---- all of it ----


def test_other_calls_are_no_events_and_cost_no_account(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    def calls() -> None:
        for _ in range(1000):
            os.getppid()
            os.stat("/")
        os.memfd_create("one")

    tracked = track("privileged")
    os.waitpid(spawn(calls), 0)

    assert [row["text"] for row in rows_of(tracked.rows())] == ["one"]
    account = tracked.account(cgroup)
    assert (account.matched, account.lost) == (1, 0)


def test_what_stands_above_a_number_of_32_bits_hides_no_call(watch: Watch, stranger: int) -> None:
    """The kernel takes the lower half of the register."""
    above = 1 << 32
    securebits, ask, dump = 28, 10, 0  # PR_SET_SECUREBITS; SYSLOG_ACTION_SIZE_BUFFER; PER_LINUX

    def calls() -> None:
        call("prctl", securebits | above, 0)
        call("syslog", ask | above, None, 0)
        call("personality", dump | above)
        call("bpf", BAD | above, None, 0)
        call("setns", -1, CLONE_NEWUTS | above)
        call("pidfd_send_signal", os.pidfd_open(stranger), signal.SIGCONT | above, None, 0)

    assert [of(row, "call", "request") for row in watch(calls)] == [
        ("prctl", securebits),
        ("syslog", ask),
        ("personality", dump),
        ("bpf", BAD),
        ("setns", CLONE_NEWUTS),
        ("pidfd_send_signal", signal.SIGCONT),
    ]


@pytest.mark.parametrize(
    ("off", "seen"),
    [
        ("interfaces", ["unshare"]),
        ("namespaces", ["memfd_create"]),
        ("identities", ["memfd_create", "unshare"]),
    ],
)
def test_groups_of_calls_can_be_left_out(watch: Watch, off: str, seen: list[str]) -> None:
    def calls() -> None:
        os.memfd_create("x")
        call("unshare", CLONE_NEWUTS)

    assert [row["call"] for row in watch(calls, **{off: False})] == seen


def test_conditions_are_decided_in_the_kernel(
    track: Any, spawn: Any, cgroup: Path, stranger: int
) -> None:
    yes = struct.pack("=2q", 1, 1)
    tracked = track("privileged", where_foreign=yes)

    def calls() -> None:
        os.memfd_create("x")
        call("ptrace", PTRACE_SEIZE, stranger, 0, 0)

    os.waitpid(spawn(calls), 0)

    assert [row["call"] for row in rows_of(tracked.rows())] == ["ptrace"]
    assert tracked.account(cgroup).matched == 1


def test_a_storm_is_complete(track: Any, spawn: Any, cgroup: Path) -> None:
    tracked = track("privileged", ring_bytes=1 << 22)

    def calls() -> None:
        for number in range(2000):
            os.close(os.memfd_create(f"file {number}"))

    os.waitpid(spawn(calls), 0)

    texts = [row["text"] for row in rows_of(tracked.rows())]
    account = tracked.account(cgroup)
    assert texts == [f"file {number}" for number in range(2000)]
    assert (account.matched, account.lost) == (2000, 0)


# ---- other ways into the kernel ----


def test_two_bytes_of_machine_code_hide_no_call(watch: Watch, old_call: Any, stranger: int) -> None:
    """A 64-bit program takes the way of 32-bit ones by `int 0x80`."""
    numbers = {"ptrace": 26, "setuid16": 23, "init_module": 128, "finit_module": 350}
    numbers |= {"chroot": 61, "setns": 346, "unshare": 310, "bpf": 357, "memfd_create": 356}

    def calls() -> None:
        old_call(numbers["ptrace"], PTRACE_SEIZE, stranger, 0, 0)
        old_call(numbers["setns"], BAD, CLONE_NEWNS)
        old_call(numbers["unshare"], CLONE_NEWUTS)
        old_call(numbers["chroot"], b"/proc")
        old_call(numbers["init_module"], 0, 0, b"old=1")
        old_call(numbers["finit_module"], BAD, 0, 0)
        old_call(numbers["bpf"], BAD, 0, 0)
        old_call(numbers["memfd_create"], b"old", 1)
        old_call(numbers["setuid16"], 1000)

    rows = watch(calls)

    assert [of(row, "call", "request", "text", "namespaces") for row in rows] == [
        ("ptrace", PTRACE_SEIZE, "", ""),
        ("setns", CLONE_NEWNS, "", "mnt"),
        ("unshare", CLONE_NEWUTS, "", "uts"),
        ("chroot", 0, "/proc", ""),
        ("init_module", 0, "old=1", ""),
        ("finit_module", 0, "", ""),
        ("bpf", BAD, "", ""),
        ("memfd_create", 1, "old", ""),
        ("setuid", 0, "", ""),
    ]
    done = {row["call"] for row in rows if not row["error"]}
    assert done == {"ptrace", "unshare", "chroot", "memfd_create", "setuid"}
    assert of(rows[0], "target_pid", "foreign") == (stranger, True)
    assert of(rows[-1], "old_uid", "new_uid") == (0, 1000)


def test_other_calls_of_32_bit_programs_are_not_taken_for_those_of_the_same_number(
    watch: Watch, old_call: Any
) -> None:
    others = {"ustat": 62, "getitimer": 105, "sched_rr_get_interval": 161, "pselect6": 308}

    assert watch(lambda: [old_call(number, BAD, BAD) for number in others.values()]) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is a way into x86-64 alone")
def test_the_numbers_of_x32_hide_no_call(watch: Watch) -> None:
    """They have a bit that others have not; a kernel without x32 refuses them all."""
    x32, ptrace_there = 1 << 30, 521

    def calls() -> None:
        libc.syscall(x32 | NUMBER["setns"], BAD, CLONE_NEWNS)
        libc.syscall(x32 | ptrace_there, PTRACE_SEIZE, BAD, 0, 0)

    rows = watch(calls)

    assert [of(row, "call", "request") for row in rows] == [
        ("setns", CLONE_NEWNS),
        ("ptrace", PTRACE_SEIZE),
    ]
    assert {row["error"] for row in rows} <= {"ENOSYS", "EBADF", "ESRCH"}
