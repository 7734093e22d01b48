# SPDX-License-Identifier: Apache-2.0
"""System calls that a rule denies fail with EPERM and do nothing; what only looks so goes on."""

import ctypes
import errno
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eunomia_agent.events import names
from eunomia_agent.kernel import hooks
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_agent.trackers.key import Enforcement
from eunomia_agent.trackers.ranges import Flags, Range

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(
        os.geteuid() == 0 and hooks.missing("lsm/bpf") is not None,
        reason=f"needs a kernel with BPF's security hooks: {hooks.missing('lsm/bpf')}",
    ),
]

DENIES = Catalogue.load().trackers["privileged"].denies
NUMBER = {name: number for number, name in names.SYSCALLS.items()}
libc = ctypes.CDLL(None, use_errno=True)
SLOT = bytes(4)
DENIED = 4
"""enum subject_flags: it was refused."""
PTRACE_TRACEME, PTRACE_SEIZE = 0, 0x4206
CLONE_FS, CLONE_NEWNS, CLONE_NEWUTS = 0x200, 0x20000, 0x4000000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, AT_FDCWD = 1, 4, -100
NOBODY = 65534
FSCONFIG_CMD_CREATE = 6
PR_SET_SECUREBITS, MS_PRIVATE = 28, 1 << 18 | 1 << 14

Argument = int | bytes | None


def call(name: str, *arguments: Argument) -> int:
    """Return what a system call returns. Raises OSError."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(NUMBER[name]), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


@pytest.fixture
def stranger(spawn: Any, make_cgroup: Any) -> int:
    """A process of another cgroup."""
    pid: int = spawn(signal.pause, make_cgroup("stranger"))
    time.sleep(0.05)
    return pid


@pytest.fixture
def outcome(spawn: Any) -> Callable[..., int]:
    """Return the error that something failed with in a child, 0: none. The child lives to tell."""

    def run(deed: Callable[[], object], **into: Path) -> int:
        told = mmap.mmap(-1, 4)

        def attempt() -> None:
            try:
                deed()
            except OSError as error:
                told[:] = struct.pack("=i", error.errno or -1)

        assert os.waitpid(spawn(attempt, **into), 0)[1] == 0
        return int(struct.unpack("=i", told[:])[0])

    return run


@pytest.fixture
def deny(track: Any) -> Callable[..., Any]:
    """Load and attach what refuses some calls: deny("bpf", …, where_foreign=…)."""

    def start(*calls: str, **conditions: Any) -> Any:
        wanted = Range.of(NUMBER[each] for each in calls).variables("call")
        others = {section for section, refused in DENIES.items() if not {*calls} & {*refused}}
        settings = {"enforcement": Enforcement.DENY, **wanted, **conditions}
        return track("privileged", without=others, **settings)

    return start


def enforced(tracked: Any) -> int:
    return int.from_bytes(tracked.object.map("enforced").lookup(SLOT), "little")


def only(value: int) -> bytes:
    """A range that has one value in it."""
    return struct.pack("=2q", value, value)


# ---- each call ----


class World(NamedTuple):
    """What calls are about."""

    stranger: int
    folder: Path


class Deed(NamedTuple):
    """A call. otherwise: how it ends where no rule is; expected: what else the row says."""

    attempt: Callable[[World], object]
    otherwise: int = 0
    expected: Callable[[World], dict[str, object]] = lambda _: {}


def of_stranger(name: str, *arguments: Argument, request: int = 0) -> Deed:
    """A call for the stranger, whose number comes first or, of ptrace, second."""
    first = (request,) if name == "ptrace" else ()
    return Deed(
        lambda world: call(name, *first, world.stranger, *arguments),
        expected=lambda world: {"target_pid": world.stranger, "foreign": True, "request": request},
    )


def reach(name: str) -> Deed:
    """Copy a byte from or to where the stranger has the same, having been forked."""
    buffer = ctypes.create_string_buffer(1)
    piece = struct.pack("=2Q", ctypes.addressof(buffer), 1)
    return of_stranger(name, piece, 1, piece, 1, 0)


def by_pidfd(name: str, *arguments: int, request: int = 0) -> Deed:
    return Deed(
        lambda world: call(name, os.pidfd_open(world.stranger), *arguments),
        expected=lambda world: {"target_pid": world.stranger, "foreign": True, "request": request},
    )


def clone(world: World) -> None:
    if not call("clone", CLONE_NEWNET | signal.SIGCHLD, None, None, None, None):
        os._exit(0)


def clone3(world: World) -> None:
    arguments = struct.pack("=11Q", CLONE_NEWUTS, 0, 0, 0, signal.SIGCHLD, *[0] * 6)
    if not call("clone3", arguments, len(arguments)):
        os._exit(0)


def pivot_root(world: World) -> None:
    call("unshare", CLONE_NEWNS)
    os.chdir(world.folder)
    call("pivot_root", b".", b".")


def move_mount(world: World) -> None:
    call("unshare", CLONE_NEWNS)
    tree = call("open_tree", AT_FDCWD, bytes(world.folder), OPEN_TREE_CLONE)
    call("move_mount", tree, b"", AT_FDCWD, bytes(world.folder), MOVE_MOUNT_F_EMPTY_PATH)


def open_by_handle(world: World) -> None:
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount, at = ctypes.c_int(), ctypes.addressof(handle)
    path = bytes(world.folder / "file")
    call("name_to_handle_at", AT_FDCWD, path, at, ctypes.addressof(mount), 0)
    call("open_by_handle_at", os.open(world.folder, os.O_RDONLY), at, os.O_RDONLY)


def module_file(world: World) -> None:
    call("finit_module", os.open(world.folder / "file", os.O_RDONLY), b"", 0)


def kernel_file(world: World) -> None:
    file = os.open(world.folder / "file", os.O_RDONLY)
    call("kexec_file_load", file, file, 1, b"", 0)


def set_capabilities(world: World) -> None:
    header, data = struct.pack("=2I", 0x20080522, 0), ctypes.create_string_buffer(24)
    call("capget", header, ctypes.addressof(data))
    call("capset", header, ctypes.addressof(data))


def use_bpf(world: World) -> None:
    create_array = struct.pack("=4I", 2, 4, 4, 1).ljust(72, b"\0")
    call("bpf", 0, create_array, len(create_array))


def count_time(world: World) -> None:
    cpu_clock = struct.pack("=2IQ", 1, 112, 0).ljust(112, b"\0")
    call("perf_event_open", cpu_clock, 0, -1, -1, 0)


def in_namespaces(name: str, flags: int, told: str) -> Deed:
    return Deed(
        lambda _: call(name, flags), expected=lambda _: {"request": flags, "namespaces": told}
    )


def enter_uts(world: World) -> None:
    call("setns", os.open(f"/proc/{world.stranger}/ns/uts", os.O_RDONLY), 0)


def detached(name: str) -> Callable[[World], None]:
    """A mount that is made by several calls, of which one is denied."""

    def make(world: World) -> None:
        if name == "open_tree":
            call("open_tree", AT_FDCWD, bytes(world.folder), OPEN_TREE_CLONE)
            return
        system = call("fsopen", b"tmpfs", 0)
        call("fsconfig", system, FSCONFIG_CMD_CREATE, None, None, 0)
        call("fsmount", system, 0, 0)

    return make


def by_user(name: str, *arguments: int) -> Deed:
    user = {"old_uid": 0, "new_uid": NOBODY if name.endswith("uid") else 0}
    return Deed(lambda _: call(name, *arguments), expected=lambda _: user)


def about_file(attempt: Callable[[World], object], otherwise: int = 0) -> Deed:
    return Deed(attempt, otherwise, lambda world: {"text": str(world.folder / "file")})


def plain(name: str, *arguments: Argument, otherwise: int = 0) -> Deed:
    return Deed(lambda _: call(name, *arguments), otherwise)


DEEDS: dict[str, Deed] = {
    "ptrace": of_stranger("ptrace", 0, 0, request=PTRACE_SEIZE),
    "process_vm_readv": reach("process_vm_readv"),
    "process_vm_writev": reach("process_vm_writev"),
    "pidfd_getfd": by_pidfd("pidfd_getfd", 0, 0),
    "kill": of_stranger("kill", 0),
    "tkill": of_stranger("tkill", 0),
    "pidfd_send_signal": by_pidfd("pidfd_send_signal", 0, 0, 0),
    "unshare": in_namespaces("unshare", CLONE_NEWUSER | CLONE_NEWNET, "net|user"),
    "clone": Deed(clone, expected=lambda _: {"namespaces": "net", "request": CLONE_NEWNET}),
    "clone3": Deed(clone3, expected=lambda _: {"namespaces": "uts", "request": CLONE_NEWUTS}),
    "setns": Deed(enter_uts, expected=lambda _: {"namespaces": "uts", "host": 1, "request": 0}),
    "sethostname": plain("sethostname", os.uname().nodename.encode(), len(os.uname().nodename)),
    "chroot": Deed(lambda _: os.chroot("/"), expected=lambda _: {"text": "/"}),
    "pivot_root": Deed(pivot_root, expected=lambda _: {"text": "."}),
    "move_mount": Deed(move_mount, expected=lambda world: {"text": str(world.folder)}),
    "open_tree": Deed(detached("open_tree"), expected=lambda world: {"text": str(world.folder)}),
    "fsopen": Deed(detached("fsopen"), expected=lambda _: {"text": "tmpfs"}),
    "fsmount": Deed(detached("fsmount")),
    "swapoff": plain("swapoff", b"/none", otherwise=errno.ENOENT),
    "acct": plain("acct", b"/", otherwise=errno.EISDIR),
    "delete_module": plain("delete_module", b"none", 0, otherwise=errno.ENOENT),
    "reboot": plain("reboot", 0, 0, 0, None, otherwise=errno.EINVAL),
    "quotactl": plain("quotactl", 0x800001 << 8, None, 0, None),
    "open_by_handle_at": about_file(open_by_handle),
    "setuid": by_user("setuid", NOBODY),
    "setreuid": by_user("setreuid", -1, NOBODY),
    "setresuid": by_user("setresuid", -1, NOBODY, -1),
    "setgid": by_user("setgid", NOBODY),
    "setregid": by_user("setregid", NOBODY, -1),
    "setresgid": by_user("setresgid", -1, NOBODY, -1),
    "capset": Deed(set_capabilities),
    "prctl": plain("prctl", PR_SET_SECUREBITS, 0, 0, 0, 0),
    "init_module": plain("init_module", bytes(4096), 4096, b"", otherwise=errno.ENOEXEC),
    "finit_module": about_file(module_file, errno.ENOEXEC),
    "kexec_load": plain("kexec_load", 0, 0, None, 0),
    "kexec_file_load": about_file(kernel_file, errno.ENOEXEC),
    "settimeofday": plain("settimeofday", None, bytes(8)),
    "syslog": plain("syslog", 10, None, 0),
    "bpf": Deed(use_bpf),
    "perf_event_open": Deed(count_time),
    "userfaultfd": plain("userfaultfd", 0),
    "io_uring_setup": plain("io_uring_setup", 1, bytes(120)),
}


@pytest.fixture
def world(stranger: int, tmp_path: Path) -> Iterator[World]:
    """What calls are about, in a mount namespace of the test's own."""
    folder = tmp_path.resolve() / "mounted"
    folder.mkdir()
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_PRIVATE, None)
    call("mount", b"none", bytes(folder), b"tmpfs", 0, None)
    (folder / "file").write_bytes(bytes(4096))
    yield World(stranger, folder)
    call("setns", before, CLONE_NEWNS)
    os.close(before)


@pytest.mark.parametrize("name", DEEDS)
def test_a_call_that_is_denied_fails_and_tells_what_it_was_about(
    deny: Any, outcome: Any, make_cgroup: Any, world: World, name: str
) -> None:
    deed = DEEDS[name]
    elsewhere = make_cgroup("elsewhere")
    if outcome(lambda: deed.attempt(world)) not in (deed.otherwise, 0):
        pytest.skip(f"this kernel has no {name}")
    tracked = deny(name)

    assert outcome(lambda: deed.attempt(world)) == errno.EPERM
    rows = tracked.rows()
    assert (rows.text("call"), rows.text("error")) == ([name], ["EPERM"])
    assert rows.fixed["result"].tolist() == [-errno.EPERM]
    assert rows.fixed["subject_flags"].tolist() == [DENIED]
    for column, value in deed.expected(world).items():
        told = rows.text(column) if isinstance(value, str) else rows.fixed[column].tolist()
        assert told == [value], column
    assert enforced(tracked) == 1

    assert outcome(lambda: deed.attempt(world), into=elsewhere) == deed.otherwise
    assert len(tracked.rows()) == 0
    assert enforced(tracked) == 1


def test_every_hook_is_tried() -> None:
    tried = {section for section, refused in DENIES.items() if DEEDS.keys() & {*refused}}
    assert tried | {"lsm/ptrace_traceme"} == DENIES.keys()


# ---- what only looks like it ----


def look_into(pid: int) -> None:
    """As ps(1) and debuggers do, without a call for it."""
    for name in ("environ", "maps", "status"):
        Path(f"/proc/{pid}/{name}").read_bytes()
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
    call("kcmp", os.getpid(), pid, 1, 0, 0)


def read_own() -> None:
    buffer = ctypes.create_string_buffer(1)
    piece = struct.pack("=2Q", ctypes.addressof(buffer), 1)
    call("process_vm_readv", os.getpid(), piece, 1, piece, 1, 0)


def test_who_looks_into_proc_traces_nobody(deny: Any, outcome: Any, stranger: int) -> None:
    tracked = deny("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd")

    assert outcome(lambda: look_into(stranger)) == 0
    assert outcome(read_own) == 0
    assert (len(tracked.rows()), enforced(tracked)) == (0, 0)


def test_who_asks_to_be_traced_is_refused_where_that_is_the_rule(deny: Any, outcome: Any) -> None:
    tracked = deny("ptrace", where_request=only(PTRACE_TRACEME))

    assert outcome(lambda: call("ptrace", PTRACE_TRACEME, 0, 0, 0)) == errno.EPERM
    assert tracked.rows().fixed["target_pid"].tolist() == [0]
    assert enforced(tracked) == 1


def test_only_who_reaches_into_another_container_is_refused(
    deny: Any, outcome: Any, stranger: int
) -> None:
    tracked = deny("ptrace", where_foreign=only(1))

    def trace_own() -> None:
        child = os.fork()
        if not child:
            signal.pause()
        try:
            call("ptrace", PTRACE_SEIZE, child, 0, 0)
        finally:
            os.kill(child, signal.SIGKILL)

    assert outcome(trace_own) == 0
    assert outcome(lambda: call("ptrace", PTRACE_SEIZE, stranger, 0, 0)) == errno.EPERM
    assert enforced(tracked) == 1


def test_a_signal_that_ends_a_child_is_its_parents_end_and_no_call(
    deny: Any, spawn: Any, make_cgroup: Any
) -> None:
    """PR_SET_PDEATHSIG: the kernel sends it in a parent that was within kill(2)."""
    tracked = deny("kill")
    other = make_cgroup("other")
    child = mmap.mmap(-1, 4)

    def leave() -> None:
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            libc.prctl(1, signal.SIGUSR1, 0, 0, 0)
            (other / "cgroup.procs").write_text("0")
            child[:] = struct.pack("=i", os.getpid())
            signal.pause()
        while not any(child[:]):
            time.sleep(0.01)
        time.sleep(0.05)
        os.kill(parent, signal.SIGKILL)

    os.waitpid(spawn(leave), 0)
    (pid,) = struct.unpack("=i", child[:])
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()
    assert (len(tracked.rows()), enforced(tracked)) == (0, 0)


def test_only_those_namespaces_are_refused_that_the_rule_names(deny: Any, outcome: Any) -> None:
    flags = Flags(1 << 5).variables("namespaces")
    tracked = deny("unshare", "clone", "clone3", **flags)

    def make(flags: int) -> Callable[[], None]:
        def run() -> None:
            call("unshare", flags)

        return run

    assert [outcome(make(each)) for each in (CLONE_FS, CLONE_NEWNS, CLONE_NEWUTS)] == [0, 0, 0]
    assert outcome(lambda: clone3(World(0, Path()))) == 0
    assert outcome(lambda: os._exit(os.waitpid(os.fork() or os._exit(0), 0)[1])) == 0
    assert outcome(make(CLONE_NEWUSER)) == errno.EPERM
    assert tracked.rows().text("namespaces") == ["user"]
    assert enforced(tracked) == 1


def test_a_rule_about_some_calls_leaves_those_between_them_alone(deny: Any, outcome: Any) -> None:
    first, between, last = sorted(("setuid", "setreuid", "setresuid"), key=NUMBER.__getitem__)
    tracked = deny(first, last)
    arguments: Sequence[int] = (-1, NOBODY, -1) if between == "setresuid" else (NOBODY, NOBODY)

    assert outcome(lambda: call(between, *arguments)) == 0
    assert outcome(lambda: call("setuid", NOBODY)) == errno.EPERM
    assert outcome(lambda: call("setresuid", -1, 0, -1)) == 0  # what it is already
    assert tracked.rows().text("call") == ["setuid"]


def test_what_bpf_is_asked_for_decides(deny: Any, outcome: Any) -> None:
    get_next_program = 11
    tracked = deny("bpf", where_request=only(get_next_program))

    assert outcome(lambda: use_bpf(World(0, Path()))) == 0
    next_id = bytes(12)
    assert outcome(lambda: call("bpf", get_next_program, next_id, 12)) == errno.EPERM
    assert enforced(tracked) == 1
