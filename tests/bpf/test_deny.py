# SPDX-License-Identifier: Apache-2.0
"""What a rule denies fails with EPERM before it is done, and who tried it goes on."""

import ctypes
import errno
import os
import shutil
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.kernel import hooks
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_agent.trackers.key import Enforcement

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(
        os.geteuid() == 0 and hooks.missing("lsm/file_open") is not None,
        reason=f"needs a kernel with BPF's security hooks: {hooks.missing('lsm/file_open')}",
    ),
]

TRACKERS = Catalogue.load().trackers
libc = ctypes.CDLL(None, use_errno=True)
SLOT = bytes(4)
DENIED = 4
"""enum subject_flags: it was refused."""
EVERY = 2**32 - 1
"""All classes of events: PATH_ALL of match_path.h."""
PREFIXES = {"where_path_used": struct.pack("=2I", EVERY, 0), "where_path_free": 0}
NAMES = {"where_path_used": struct.pack("=2I", 0, EVERY), "where_path_free": 0}
CLONE_NEWNS, MS_BIND, MS_PRIVATE = 0x20000, 4096, 1 << 18 | 1 << 14

Deed = Callable[[Path], object]


def only(value: int) -> bytes:
    """A range that has one value in it."""
    return struct.pack("=2q", value, value)


@pytest.fixture
def deny(track: Any) -> Callable[..., Any]:
    """Load and attach programs that refuse: deny(hook, param=…)."""

    def start(*wanted: str, tracker: str = "access", **params: Any) -> Any:
        others = TRACKERS[tracker].denies.keys() - {f"lsm/{hook}" for hook in wanted}
        return track(tracker, without=others, enforcement=Enforcement.DENY, **params)

    return start


def asked(tracked: Any, *, prefix: str = "", name: str = "") -> None:
    """Ask for paths. A prefix that ends with NUL is a whole path."""
    every = struct.pack("=I", EVERY)
    if prefix:
        content = prefix.encode()
        key = struct.pack("=I256s", 8 * len(content), content)
        tracked.object.map("where_path_prefixes").update(key, every)
    if name:
        tracked.object.map("where_path_names").update(struct.pack("64s", name.encode()), every)


def outcome(spawn: Any, deed: Callable[[], object], **into: Path) -> int:
    """Return the error that a deed failed with in a child, 0: none. The child lives to tell."""
    reading, writing = os.pipe()

    def attempt() -> None:
        try:
            deed()
        except OSError as error:
            os.write(writing, struct.pack("=i", error.errno or -1))
        else:
            os.write(writing, bytes(4))

    pid = spawn(attempt, **into)
    os.close(writing)
    assert os.waitpid(pid, 0)[1] == 0
    with open(reading, "rb") as told:
        return int(struct.unpack("=i", told.read())[0])


def enforced(tracked: Any) -> int:
    return int.from_bytes(tracked.object.map("enforced").lookup(SLOT), "little")


def checked(result: int) -> None:
    """Raise what a call of the C library failed with."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "failed")


def mount_over(folder: Path) -> None:
    checked(libc.mount(bytes(folder.parent), bytes(folder / "folder"), b"", MS_BIND, None))


OPEN, CREATE, DELETE, RENAME, LINK, SYMLINK, TRUNCATE, CHMOD, CHOWN, MKNOD, MOUNT = range(1, 12)
DEEDS: dict[str, tuple[str, int, str, Deed]] = {
    # where it is refused, its kind, the path that it is about, and what is done
    "open": ("file_open", OPEN, "file", lambda at: os.open(at / "file", os.O_RDONLY)),
    "open to write": (
        "file_open",
        OPEN,
        "file",
        lambda at: os.open(at / "file", os.O_WRONLY | os.O_TRUNC),
    ),
    "open by a link": ("file_open", OPEN, "file", lambda at: os.open(at / "alias", os.O_RDONLY)),
    "create": (
        "path_mknod",
        CREATE,
        "new",
        lambda at: os.open(at / "new", os.O_CREAT | os.O_WRONLY),
    ),
    "mkdir": ("path_mkdir", CREATE, "made", lambda at: (at / "made").mkdir()),
    "unlink": ("path_unlink", DELETE, "file", lambda at: (at / "file").unlink()),
    "rmdir": ("path_rmdir", DELETE, "folder", lambda at: (at / "folder").rmdir()),
    "rename": ("path_rename", RENAME, "file", lambda at: (at / "file").rename(at / "renamed")),
    "link": ("path_link", LINK, "file", lambda at: (at / "linked").hardlink_to(at / "file")),
    "symlink": (
        "path_symlink",
        SYMLINK,
        "symlink",
        lambda at: (at / "symlink").symlink_to("anywhere"),
    ),
    "truncate": ("path_truncate", TRUNCATE, "file", lambda at: os.truncate(at / "file", 1)),
    "chmod": ("path_chmod", CHMOD, "file", lambda at: (at / "file").chmod(0o777)),
    "chown": ("path_chown", CHOWN, "file", lambda at: os.chown(at / "file", 1000, 1000)),
    "mkfifo": ("path_mknod", MKNOD, "fifo", lambda at: os.mkfifo(at / "fifo")),
    "mknod": (
        "path_mknod",
        MKNOD,
        "plain",
        lambda at: os.mknod(at / "plain", 0o644 | stat.S_IFREG),
    ),
    "mount": ("sb_mount", MOUNT, "folder", mount_over),
}


def look(folder: Path) -> list[tuple[str, int, int, int]]:
    """What is in a folder: names, modes, owners and sizes."""
    found = ((each.name, each.lstat()) for each in sorted(folder.iterdir()))
    return [(name, about.st_mode, about.st_uid, about.st_size) for name, about in found]


def furnish(folder: Path) -> Path:
    """Make a folder with something in it."""
    (folder / "folder").mkdir(parents=True)
    (folder / "file").write_text("content")
    (folder / "alias").symlink_to("file")
    return folder


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    return furnish(tmp_path / "guarded")


@pytest.fixture
def mounts() -> Iterator[None]:
    """A mount namespace of the test's own."""
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    checked(libc.unshare(CLONE_NEWNS))
    checked(libc.mount(b"none", b"/", None, MS_PRIVATE, None))
    yield
    checked(libc.setns(before, CLONE_NEWNS))
    os.close(before)


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize("name", DEEDS)
def test_a_deed_that_is_denied_fails_and_changes_nothing(
    deny: Any, spawn: Any, make_cgroup: Any, guarded: Path, tmp_path: Path, name: str
) -> None:
    hook, kind, about, deed = DEEDS[name]
    other = furnish(tmp_path / "other")
    elsewhere = make_cgroup("elsewhere")
    before = look(guarded)
    tracked = deny(hook, where_kind=only(kind), **PREFIXES)
    asked(tracked, prefix=f"{guarded}/")

    assert outcome(spawn, lambda: deed(guarded)) == errno.EPERM
    assert look(guarded) == before
    rows = tracked.rows()
    assert rows.text("path") == [str(guarded / about)]
    assert rows.text("error") == ["EPERM"]
    assert rows.fixed["kind"].tolist() == [kind]
    assert rows.fixed["subject_flags"].tolist() == [DENIED]
    assert enforced(tracked) == 1

    assert outcome(spawn, lambda: deed(other)) == 0
    assert outcome(spawn, lambda: deed(guarded), into=elsewhere) == 0
    assert len(tracked.rows()) == 0
    assert enforced(tracked) == 1


def test_a_name_is_denied_wherever_it_is(deny: Any, spawn: Any, guarded: Path) -> None:
    tracked = deny("file_open", where_kind=only(OPEN), **NAMES)
    asked(tracked, name="file")

    assert outcome(spawn, (guarded / "file").read_text) == errno.EPERM
    assert outcome(spawn, lambda: os.listdir(guarded)) == 0
    assert tracked.rows().text("path") == [str(guarded / "file")]


@pytest.fixture
def overlay(mounts: None, tmp_path: Path) -> Path:
    """An overlay whose folders have each a file in its lower layer."""
    memory, merged = tmp_path / "memory", tmp_path / "merged"
    memory.mkdir()
    merged.mkdir()
    checked(libc.mount(b"none", bytes(memory), b"tmpfs", 0, None))
    for name in ("upper", "work"):
        (memory / name).mkdir()
    for name in ("written", "chmod", "renamed", "read"):
        furnish(memory / "lower" / name)
    layers = f"lowerdir={memory}/lower,upperdir={memory}/upper,workdir={memory}/work"
    checked(libc.mount(b"overlay", bytes(merged), b"overlay", 0, layers.encode()))
    return merged


def test_what_an_overlay_copies_is_not_opened_by_who_changes_it(
    deny: Any, spawn: Any, overlay: Path
) -> None:
    tracked = deny("file_open", where_kind=only(OPEN), where_writing=only(0), **NAMES)
    asked(tracked, name="file")

    assert outcome(spawn, lambda: os.open(overlay / "written/file", os.O_RDWR)) == 0
    assert outcome(spawn, lambda: (overlay / "chmod/file").chmod(0o777)) == 0
    renamed = overlay / "renamed/other"
    assert outcome(spawn, lambda: (overlay / "renamed/file").rename(renamed)) == 0
    assert (len(tracked.rows()), enforced(tracked)) == (0, 0)

    assert outcome(spawn, (overlay / "read/file").read_text) == errno.EPERM
    assert tracked.rows().text("path") == [str(overlay / "read/file")]
    assert enforced(tracked) == 1


def test_a_file_in_memory_is_opened_as_any_other(deny: Any, spawn: Any) -> None:
    tracked = deny("file_open", where_kind=only(OPEN))
    memory = os.memfd_create("file")

    assert outcome(spawn, lambda: os.open(f"/proc/self/fd/{memory}", os.O_RDONLY)) == errno.EPERM
    os.close(memory)
    assert enforced(tracked) == 1


@pytest.mark.parametrize("why", ["the agent itself", "not known yet", "silent for too long"])
def test_nothing_is_denied_to_whom_it_may_not_be(
    deny: Any, spawn: Any, cgroup: Path, guarded: Path, why: str
) -> None:
    own = cgroup.stat().st_ino if why == "the agent itself" else 0
    tracked = deny("file_open", own_cgroup=own, **PREFIXES)
    asked(tracked, prefix=f"{guarded}/file\0")
    if why == "not known yet":
        tracked.target(cgroup, state=1)
    if why == "silent for too long":
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        tracked.object.map("enforce_until").update(SLOT, struct.pack("=Q", now))

    assert outcome(spawn, (guarded / "file").read_text) == 0
    rows = tracked.rows()
    assert (rows.text("path"), rows.text("error")) == ([str(guarded / "file")], [""])
    assert not rows.fixed["subject_flags"][0] & DENIED
    assert enforced(tracked) == 0


def test_denying_has_no_limit_when_telling_has(
    deny: Any, spawn: Any, cgroup: Path, guarded: Path
) -> None:
    tracked = deny("file_open", **PREFIXES)
    asked(tracked, prefix=f"{guarded}/file\0")
    tracked.limit([(2**64 - 1, 0)])

    assert [outcome(spawn, (guarded / "file").read_text) for _ in range(5)] == [errno.EPERM] * 5
    assert len(tracked.rows()) == 0
    assert tracked.account(cgroup).limited == enforced(tracked) == 5


def test_programs_are_no_opens(deny: Any, spawn: Any, guarded: Path) -> None:
    """What is run is another tracker's."""
    tracked = deny("file_open", where_kind=only(OPEN), **NAMES)
    asked(tracked, name="true")

    def work() -> None:
        assert os.spawnv(os.P_WAIT, "/bin/true", ["true"]) == 0

    assert outcome(spawn, work) == 0
    assert enforced(tracked) == 0


# Programs that start


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A copy of a program, so that nothing else is about it."""
    path = tmp_path / "tool"
    shutil.copy("/bin/cat", path)
    return path


def executed(spawn: Any, path: Path, *args: str, **environment: str) -> int:
    """Return the error with which a program did not start, 0: it did."""
    return outcome(spawn, lambda: run_program(path, *args, **environment))


def run_program(path: Path, *args: str, **environment: str) -> None:
    done = os.posix_spawn(path, [path.name, *args], environment)
    os.waitpid(done, 0)


def test_a_program_that_is_denied_does_not_start(
    deny: Any, spawn: Any, tmp_path: Path, program: Path
) -> None:
    other = tmp_path / "other"
    shutil.copy("/bin/cat", other)
    tracked = deny("bprm_creds_from_file", tracker="execution", **PREFIXES)
    asked(tracked, prefix=f"{program}\0")

    assert executed(spawn, program, "/dev/null", LD_PRELOAD="/none.so") == errno.EPERM
    assert executed(spawn, other, "/dev/null") == 0
    rows = tracked.rows()
    told = {name: rows.text(name) for name in ("path", "filename", "args", "preload", "comm")}
    assert told == {
        "path": [str(program)],
        "filename": [str(program)],
        "args": ["tool /dev/null"],
        "preload": ["/none.so"],
        "comm": ["tool"],
    }
    assert rows.fixed["subject_flags"].tolist() == [DENIED]
    assert enforced(tracked) == 1


def test_a_script_is_denied_by_what_interprets_it(
    deny: Any, spawn: Any, tmp_path: Path, program: Path
) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    tracked = deny("bprm_creds_from_file", tracker="execution", **NAMES)
    asked(tracked, name="tool")

    assert executed(spawn, script) == errno.EPERM
    rows = tracked.rows()
    assert (rows.text("path"), rows.text("filename"), rows.text("interpreter")) == (
        [str(program)],
        [str(script)],
        [str(program)],
    )


@pytest.mark.parametrize("column", ["comm", "stdin", "memfd", "setuid"])
def test_what_a_program_would_be_is_known_before_it_starts(
    deny: Any, spawn: Any, program: Path, column: str
) -> None:
    """Its own name, and not that of who starts it; and only the descriptors that stay open."""
    if column == "comm":
        conditions = {"where_comm": struct.pack("=2I16s", 4, True, b"tool")}
    else:
        conditions = {f"where_{column}": only(1)}
    tracked = deny("bprm_creds_from_file", tracker="execution", **conditions)

    def work() -> None:
        file = os.open(program, os.O_RDONLY)
        os.dup2(file, 0)
        if column == "memfd":
            memory = os.memfd_create("in memory", 0)
            os.write(memory, program.read_bytes())
            os.execve(memory, ["x"], {})
        if column == "setuid":
            os.chown(program, 1, 1)
            program.chmod(0o4755)
        os.execve(program, ["tool"], {})

    def without() -> None:
        os.set_inheritable(0, False)
        plain = program.with_name("plain")
        shutil.copy(program, plain)
        os.execve(plain, ["plain", "/dev/null"], {})

    assert outcome(spawn, work) == errno.EPERM
    assert enforced(tracked) == 1
    with pytest.raises(struct.error):  # it runs something else, which tells nothing
        outcome(spawn, without)
    assert enforced(tracked) == 1


# Connections


MSG_FASTOPEN = 0x20000000


def connect(server: socket.socket) -> None:
    with socket.socket(server.family) as client:
        client.connect(server.getsockname())


def connect_later(server: socket.socket) -> None:
    """Without waiting for what becomes of it."""
    with socket.socket(server.family) as client:
        client.setblocking(False)
        try:
            client.connect(server.getsockname())
        except BlockingIOError:
            return


def connect_with_bytes(server: socket.socket) -> None:
    with socket.socket(server.family) as client:
        client.sendto(b"x", MSG_FASTOPEN, server.getsockname())


@pytest.mark.parametrize("attempt", [connect, connect_later, connect_with_bytes])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_connection_that_is_denied_is_not_made(
    deny: Any, spawn: Any, address: str, attempt: Callable[[socket.socket], None]
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.create_server((address, 0), family=family) as other,
    ):
        port = server.getsockname()[1]
        tracked = deny(*("socket_connect", "socket_sendmsg"), tracker="tcp", where_dport=only(port))

        assert outcome(spawn, lambda: attempt(server)) == errno.EPERM
        assert outcome(spawn, lambda: attempt(other)) == 0
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    rows = tracked.rows()
    assert (rows.text("kind"), rows.text("error")) == (["connect"], ["EPERM"])
    assert (rows.text("daddr"), rows.fixed["dport"].tolist()) == ([address], [port])
    assert rows.fixed["subject_flags"].tolist() == [DENIED]
    assert enforced(tracked) == 1


def test_what_became_of_a_connection_may_be_asked(deny: Any, spawn: Any) -> None:
    """One that was made before the rule was there goes on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        where = server.getsockname()
        tracked = deny("socket_connect", tracker="tcp", where_dport=only(where[1]))

        assert outcome(spawn, lambda: client.connect(where)) == errno.EISCONN
        assert outcome(spawn, lambda: client.sendall(b"x")) == 0
    assert enforced(tracked) == 0


def connect_again(client: socket.socket, to: tuple[str, int]) -> None:
    client.connect(to)


def connect_again_with_bytes(client: socket.socket, to: tuple[str, int]) -> None:
    client.sendto(b"x", MSG_FASTOPEN, to)


@pytest.mark.parametrize("attempt", [connect_again, connect_again_with_bytes])
def test_a_socket_that_is_connected_may_be_connected_to_nothing_that_is_denied(
    deny: Any, spawn: Any, attempt: Callable[[socket.socket, tuple[str, int]], None]
) -> None:
    """Another thread could disconnect it between the question and the connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as denied,
        socket.create_connection(server.getsockname()) as client,
        socket.create_connection(denied.getsockname()) as older,
    ):
        to = denied.getsockname()
        programs = ("socket_connect", "socket_sendmsg")
        tracked = deny(*programs, tracker="tcp", where_dport=only(to[1]))

        assert outcome(spawn, lambda: attempt(client, server.getsockname())) == errno.EISCONN
        assert outcome(spawn, lambda: attempt(older, to)) == errno.EISCONN
        assert enforced(tracked) == 0
        assert outcome(spawn, lambda: attempt(client, to)) == errno.EPERM
        assert outcome(spawn, lambda: attempt(older, ("127.0.0.2", to[1]))) == errno.EPERM
    rows = tracked.rows()
    assert rows.text("daddr") == ["127.0.0.1", "127.0.0.2"]
    assert enforced(tracked) == 2
