# SPDX-License-Identifier: Apache-2.0
"""Who talks to whom on one machine: each end's rows and counts against what was really done."""

import ctypes
import faulthandler
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)
SENDER_JOB, RECEIVER_JOB = 1, 2
IPC_PRIVATE, IPC_CREAT, IPC_RMID, IPC_NOWAIT = 0, 0o1000, 0, 0o4000


def told(rows: Any, *names: str) -> list[tuple[str, ...]]:
    return list(zip(*(rows.text(name) for name in names), strict=True))


def of_job(rows: Any, job: int) -> Any:
    return rows.take(rows.fixed["jobs"] & job != 0)


def own_comm() -> str:
    return Path("/proc/self/comm").read_text().strip()


def traffic(tracked: Any, kind: int) -> list[tuple[int, ...]]:
    """Each entry of a kind: pid, peer, count, reads, writes, bytes read and written."""
    names = ("pid", "tpid", "count", "reads", "writes", "read_bytes", "write_bytes")
    rows = [row for row in tracked.counts() if row["kind"] == kind]
    return sorted(tuple(row[name] for name in names) for row in rows)


UNIX, PIPE, QUEUE, SEMAPHORE, MQUEUE = 2, 3, 4, 5, 7
"""Values of `enum kind`."""


@pytest.fixture
def elsewhere(make_cgroup: Callable[..., Path]) -> Path:
    """A second cgroup."""
    return make_cgroup("elsewhere")


def sleeper() -> None:
    signal.pause()


def wait_asleep(tid: int) -> None:
    while Path(f"/proc/{tid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.001)


# ---- signals ----


def test_a_signal_within_a_container_is_told_once_as_its_senders(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    receiver = spawn(sleeper)
    wait_asleep(receiver)
    tracked = track("ipc", traffic=False)

    def send() -> None:
        for number in (signal.SIGCONT, signal.SIGTERM):
            os.kill(receiver, number)

    sender = spawn(send)
    os.waitpid(receiver, 0)
    os.waitpid(sender, 0)

    rows = tracked.rows()

    sent = [row for row in told(rows, "pid", "tpid", "signal", "result") if row[0] == str(sender)]
    assert sent == [
        (str(sender), str(receiver), "SIGCONT", "ignored"),
        (str(sender), str(receiver), "SIGTERM", "delivered"),
        (str(sender), str(os.getpid()), "SIGCHLD", "ignored"),
    ]
    assert set(rows.text("action")) == {"send"}
    assert set(rows.text("tcomm")) == {own_comm()}


def test_a_signal_between_two_containers_is_told_to_each_as_its_own(
    track: Any, spawn: Any, cgroup: Path, elsewhere: Path
) -> None:
    receiver = spawn(sleeper, into=elsewhere)
    wait_asleep(receiver)
    tracked = track("ipc", traffic=False, where_signal=struct.pack("=qq", 9, 9))
    tracked.limit([], jobs=SENDER_JOB | RECEIVER_JOB)
    tracked.target(elsewhere, jobs=RECEIVER_JOB)
    sender = spawn(lambda: os.kill(receiver, signal.SIGKILL))
    os.waitpid(receiver, 0)
    os.waitpid(sender, 0)

    rows = tracked.rows()

    columns = ("kind", "action", "pid", "tpid", "signal", "error")
    assert told(of_job(rows, SENDER_JOB), *columns) == [
        ("signal", "send", str(sender), str(receiver), "SIGKILL", "")
    ]
    assert told(of_job(rows, RECEIVER_JOB), *columns) == [
        ("signal", "receive", str(receiver), str(sender), "SIGKILL", "")
    ]
    assert tracked.account(cgroup, 0).matched == tracked.account(elsewhere, 1).matched == 1


def test_whoever_follows_a_process_sees_who_signals_it_from_its_own_container(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    receiver = spawn(sleeper)
    wait_asleep(receiver)
    tracked = track("ipc", traffic=False, by_pid=True)
    pids = tracked.object.map("pids")
    pids.update(struct.pack("=i", receiver), bytes(pids.value_size))
    sender = spawn(lambda: os.kill(receiver, signal.SIGTERM))
    os.waitpid(receiver, 0)
    os.waitpid(sender, 0)

    rows = tracked.rows()

    assert told(rows, "action", "pid", "tpid", "tcomm", "signal") == [
        ("receive", str(receiver), str(sender), own_comm(), "SIGTERM"),
        ("send", str(receiver), str(os.getpid()), own_comm(), "SIGCHLD"),
    ]
    assert tracked.account(cgroup).matched == 2


def test_a_signal_of_the_kernel_itself_has_no_sender(track: Any, spawn: Any) -> None:
    tracked = track("ipc", traffic=False)

    def faults() -> None:
        faulthandler.disable()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        signal.pause()
        ctypes.string_at(8)

    pid = spawn(faults)
    os.waitpid(pid, 0)

    rows = tracked.rows()

    assert told(rows, "action", "pid", "tpid", "tcomm", "signal") == [
        ("receive", str(pid), "0", "", "SIGALRM"),
        ("receive", str(pid), "0", "", "SIGSEGV"),
        ("send", str(pid), str(os.getpid()), own_comm(), "SIGCHLD"),
    ]


@pytest.mark.parametrize("code", [-2, -5], ids=["SI_TIMER", "SI_SIGIO"])
def test_nobody_hides_behind_a_code_of_the_kernels(track: Any, spawn: Any, code: int) -> None:
    receiver = spawn(sleeper)
    wait_asleep(receiver)
    tracked = track("ipc", traffic=False, where_signal=struct.pack("=qq", 15, 15))
    number = {"x86_64": 129, "aarch64": 138}[os.uname().machine]

    def queue() -> None:
        info = struct.pack("=3i116x", signal.SIGTERM, 0, code)
        assert libc.syscall(number, receiver, signal.SIGTERM, info) == 0

    sender = spawn(queue)
    os.waitpid(receiver, 0)
    os.waitpid(sender, 0)

    assert told(tracked.rows(), "action", "pid", "tpid") == [("send", str(sender), str(receiver))]


# ---- unix sockets ----


@pytest.mark.parametrize("name", ["{tmp}/listening", "\0hidden"], ids=["path", "abstract"])
def test_both_ends_of_a_unix_connection_name_each_other_and_count_what_went_through(
    track: Any, spawn: Any, cgroup: Path, elsewhere: Path, tmp_path: Path, name: str
) -> None:
    address = name.format(tmp=tmp_path)
    ready, tell = os.pipe()

    def serve() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen()
            os.write(tell, b"x")
            stream, _ = server.accept()
            assert stream.recv(1000, socket.MSG_WAITALL) == bytes(1000)
            stream.sendall(bytes(70))
            os.write(stream.fileno(), bytes(7))
            assert stream.recv(1) == b""

    def ask() -> None:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(address)
            for _ in range(10):
                stream.sendmsg([bytes(60), bytes(40)])
            assert len(stream.recv(70, socket.MSG_WAITALL)) == 70
            assert len(os.read(stream.fileno(), 7)) == 7

    tracked = track("ipc", where_kind=struct.pack("=qq", UNIX, UNIX))
    tracked.limit([], jobs=SENDER_JOB | RECEIVER_JOB)
    tracked.target(elsewhere, jobs=RECEIVER_JOB)
    serving = spawn(serve, into=elsewhere)
    os.read(ready, 1)
    asking = spawn(ask)
    for pid in (asking, serving):
        os.waitpid(pid, 0)

    rows = tracked.rows()

    shown = address.replace("\0", "@")
    columns = ("kind", "action", "pid", "tpid", "path", "error")
    assert told(of_job(rows, SENDER_JOB), *columns) == [
        ("unix", "connect", str(asking), str(serving), shown, "")
    ]
    assert told(of_job(rows, RECEIVER_JOB), *columns) == [
        ("unix", "accept", str(serving), str(asking), shown, "")
    ]
    counted = {row[0]: row for row in traffic(tracked, UNIX)}
    assert set(counted) == {asking, serving}
    assert counted[asking][1] == serving
    assert counted[serving][1] == asking
    assert counted[asking][2:] == (12, 2, 10, 77, 1000)
    assert counted[serving][2:] == (4, 2, 2, 1000, 77)


def test_a_name_that_is_changed_while_it_is_connected_to_deceives_nobody(
    track: Any, spawn: Any, tmp_path: Path
) -> None:
    """Connect waits for room in the server's queue; meanwhile its argument is overwritten."""
    real, other = str(tmp_path / "real"), str(tmp_path / "else")
    server = socket.socket(socket.AF_UNIX)
    server.bind(real)
    server.listen(0)
    tracked = track("ipc", traffic=False, signals=False)

    def deceive() -> None:
        first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        first.connect(real)
        memory = ctypes.create_string_buffer(struct.pack("=H", socket.AF_UNIX) + real.encode())
        arguments = (second.fileno(), memory, len(memory))
        waiting = threading.Thread(target=libc.connect, args=arguments)
        waiting.start()
        assert waiting.native_id
        wait_asleep(waiting.native_id)
        memory[2:] = other.encode() + b"\0"
        server.accept()
        waiting.join()

    os.waitpid(spawn(deceive), 0)

    rows = tracked.rows()

    assert sorted(told(rows, "action", "error", "path")) == [
        ("accept", "", real),
        ("connect", "", real),
        ("connect", "", real),
    ]


def test_a_connect_that_fails_says_where_to_and_why(track: Any, spawn: Any, tmp_path: Path) -> None:
    missing = str(tmp_path / "\x1bmissing")
    tracked = track("ipc", traffic=False, signals=False)

    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect_ex(missing)
        with socket.socket() as other:
            other.connect_ex(("127.0.0.1", 1))

    os.waitpid(spawn(connect), 0)

    rows = tracked.rows()

    assert told(rows, "kind", "action", "error", "tpid", "path") == [
        ("unix", "connect", "ENOENT", "0", missing.replace("\x1b", "\\x1b"))
    ]


def test_a_pair_of_sockets_is_one_row_and_each_end_counts_for_itself(
    track: Any, spawn: Any
) -> None:
    tracked = track("ipc", signals=False)

    def talk() -> None:
        one, other = socket.socketpair()
        one.send(bytes(5))
        other.recv(5)

    pid = spawn(talk)
    os.waitpid(pid, 0)

    assert told(tracked.rows(), "kind", "action") == [("unix", "create")]
    assert traffic(tracked, UNIX) == [(pid, pid, 1, 0, 1, 0, 5), (pid, pid, 1, 1, 0, 5, 0)]


def test_what_goes_over_the_network_or_into_a_file_is_not_counted(
    track: Any, spawn: Any, cgroup: Path, tmp_path: Path
) -> None:
    tracked = track("ipc", signals=False)

    def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            end, _ = server.accept()
        client.sendall(b"abc")
        end.recv(3)
        os.writev(end.fileno(), [b"abc"])
        os.read(client.fileno(), 3)
        (tmp_path / "file").write_bytes(b"abc")

    os.waitpid(spawn(talk), 0)

    assert tracked.counts() == []
    assert len(tracked.rows()) == 0
    assert tracked.account(cgroup).matched == 0


def test_a_descriptor_that_is_no_socket_any_more_is_not_taken_for_one(
    track: Any, spawn: Any
) -> None:
    """What an eventfd holds, its count of 1 among it, would be read as a unix socket's family."""
    tracked = track("ipc", signals=False)

    def exchange() -> None:
        one, other = socket.socketpair()
        waiting = threading.Thread(target=one.recv, args=(1,))
        waiting.start()
        assert waiting.native_id
        wait_asleep(waiting.native_id)
        os.dup2(os.eventfd(1), one.fileno())
        other.send(b"x")
        waiting.join()

    pid = spawn(exchange)
    os.waitpid(pid, 0)

    assert traffic(tracked, UNIX) == [(pid, pid, 1, 0, 1, 0, 1)]


# ---- pipes ----


def test_what_goes_through_a_pipe_is_counted_for_each_process(
    track: Any, spawn: Any, tmp_path: Path
) -> None:
    tracked = track("ipc", signals=False)
    regular = tmp_path / "regular"

    def talk() -> None:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(writing)
            while os.read(reading, 100):
                pass
            os._exit(0)
        os.close(reading)
        for _ in range(1000):
            os.writev(writing, [bytes(60), bytes(40)])
        os.close(writing)
        with regular.open("wb") as file:
            file.write(bytes(10))
        os.wait()

    writer = spawn(talk)
    os.waitpid(writer, 0)

    rows = tracked.rows()

    assert told(rows, "kind", "action", "pid") == [("pipe", "create", str(writer))]
    entries = tracked.counts()
    assert {row["object"] for row in entries} == set(rows.fixed["object"].tolist())
    assert {row["kind"] for row in entries} == {PIPE}
    names = ("count", "reads", "writes", "read_bytes", "write_bytes", "comm")
    comm = own_comm().encode()
    found = {row["pid"]: tuple(row[name] for name in names) for row in entries}
    assert found.pop(writer) == (1000, 0, 1000, 0, 100_000, comm)
    ((count, reads, *rest),) = found.values()
    assert count == reads >= 1001
    assert rest == [0, 100_000, 0, comm]


def test_a_fifo_is_a_pipe_too(track: Any, spawn: Any, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    tracked = track("ipc", signals=False)

    def talk() -> None:
        end = os.open(fifo, os.O_RDWR)
        os.write(end, bytes(3))
        os.read(end, 10)

    pid = spawn(talk)
    os.waitpid(pid, 0)

    assert traffic(tracked, PIPE) == [(pid, 0, 2, 1, 1, 3, 3)]


# ---- System V and POSIX ----


def test_a_queue_of_system_v_from_its_making_to_its_removal(track: Any, spawn: Any) -> None:
    key = 0x65000000 | os.getpid() & 0xFFFF
    tracked = track("ipc", signals=False)
    seen, tell = os.pipe()

    def talk() -> None:
        queue = libc.msgget(key, IPC_CREAT | 0o600)
        message = struct.pack("=q", 1) + bytes(500)
        for size in (100, 200, 500):
            assert libc.msgsnd(queue, message, size, 0) == 0
        buffer = ctypes.create_string_buffer(8 + 1000)
        for _ in range(2):
            libc.msgrcv(queue, buffer, 1000, 0, IPC_NOWAIT)
        libc.msgctl(queue, IPC_RMID, None)
        assert libc.msgget(key, 0o600) == -1
        os.write(tell, struct.pack("=i", queue))

    pid = spawn(talk)
    os.waitpid(pid, 0)
    (queue,) = struct.unpack("=i", os.read(seen, 4))

    rows = tracked.rows()

    assert told(rows, "kind", "action", "object", "error") == [
        ("queue", "open", str(queue), ""),
        ("queue", "remove", str(queue), ""),
        ("queue", "open", "0", "ENOENT"),
    ]
    assert rows.fixed["key"].tolist()[::2] == [key, key]
    assert traffic(tracked, QUEUE) == [(pid, 0, 5, 2, 3, 300, 800)]


def test_semaphores_are_counted_by_their_operations(track: Any, spawn: Any) -> None:
    tracked = track("ipc", signals=False)

    def operate() -> None:
        semaphores = libc.semget(IPC_PRIVATE, 1, 0o600)
        for step in (1, 1, -2):
            operation = struct.pack("=Hhh", 0, step, 0)
            assert libc.semop(semaphores, operation, 1) == 0
        libc.semctl(semaphores, 0, IPC_RMID)

    pid = spawn(operate)
    os.waitpid(pid, 0)

    assert told(tracked.rows(), "kind", "action") == [
        ("semaphore", "open"),
        ("semaphore", "remove"),
    ]
    assert traffic(tracked, SEMAPHORE) == [(pid, 0, 3, 0, 0, 0, 0)]


def test_shared_memory_is_opened_with_its_size_attached_and_removed(track: Any, spawn: Any) -> None:
    tracked = track("ipc", signals=False)
    libc.shmat.restype = ctypes.c_void_p

    def share() -> None:
        memory = libc.shmget(IPC_PRIVATE, 123_456, 0o600)
        libc.shmat(memory, None, 0)
        libc.shmctl(memory, IPC_RMID, None)
        libc.shmat(0x7FFFFFFF, None, 0)

    os.waitpid(spawn(share), 0)

    rows = tracked.rows()

    assert told(rows, "kind", "action", "error") == [
        ("memory", "open", ""),
        ("memory", "attach", ""),
        ("memory", "remove", ""),
        ("memory", "attach", "EINVAL"),
    ]
    assert rows.fixed["bytes"].tolist()[0] == 123_456
    assert len(set(rows.fixed["object"].tolist()[:3])) == 1


def test_a_posix_queue_is_opened_by_name_and_its_messages_are_counted(
    track: Any, spawn: Any
) -> None:
    name = f"eunomia-{os.getpid()}".encode()
    tracked = track("ipc", signals=False)
    posix = ctypes.CDLL("librt.so.1", use_errno=True)

    def talk() -> None:
        queue = posix.mq_open(b"/" + name, os.O_CREAT | os.O_RDWR, 0o600, None)
        assert queue >= 0
        for size in (10, 20):
            assert posix.mq_send(queue, bytes(20), size, 0) == 0
        buffer = ctypes.create_string_buffer(8192)
        assert posix.mq_receive(queue, buffer, 8192, None) == 10
        posix.mq_unlink(b"/" + name)

    pid = spawn(talk)
    os.waitpid(pid, 0)

    assert told(tracked.rows(), "kind", "action", "path", "error") == [
        ("mqueue", "open", name.decode(), ""),
        ("mqueue", "remove", name.decode(), ""),
    ]
    assert traffic(tracked, MQUEUE) == [(pid, 0, 3, 1, 2, 10, 30)]


# ---- by the way of 32-bit programs, `int 0x80`, which 64-bit ones can take ----

SOCKETCALL, SYS_CONNECT, SYS_ACCEPT, SYS_SOCKETPAIR, SYS_SEND, SYS_RECV = 102, 3, 5, 8, 9, 10
IPC, SEMOP, SEMGET, SEMCTL, MSGSND, MSGRCV, MSGGET, MSGCTL = 117, 1, 2, 3, 11, 12, 13, 14
SHMAT, SHMGET, SHMCTL, NEW_MSGRCV = 21, 23, 24, 1 << 16 | 12


def test_two_bytes_of_machine_code_hide_no_pipe_and_no_signal(
    track: Any, spawn: Any, old_call: Any
) -> None:
    read, write, pipe, kill, queue = 3, 4, 42, 37, 178
    reading, writing = os.pipe()
    tracked = track("ipc", where_signal=struct.pack("=qq", 10, 12))

    def talk() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        old_call(pipe, bytes(8))
        for _ in range(3):
            old_call(write, writing, b"12345", 5)
        old_call(read, reading, bytes(10), 10)
        old_call(kill, os.getpid(), signal.SIGUSR1)
        info = struct.pack("=3i116x", signal.SIGUSR1, 0, -2)  # SI_TIMER, as the kernel's own have
        old_call(queue, os.getpid(), signal.SIGUSR1, info)

    pid = spawn(talk)
    os.waitpid(pid, 0)

    assert told(tracked.rows(), "kind", "action", "signal", "tpid") == [
        ("pipe", "create", "", "0"),
        ("signal", "send", "SIGUSR1", str(pid)),
        ("signal", "send", "SIGUSR1", str(pid)),
    ]
    assert traffic(tracked, PIPE) == [(pid, 0, 4, 1, 3, 10, 15)]


@pytest.mark.parametrize("by", ["socketcall", "calls of their own"])
def test_two_bytes_of_machine_code_hide_no_unix_socket(
    track: Any, spawn: Any, old_call: Any, tmp_path: Path, by: str
) -> None:
    """There is one call for all of them, with arguments in memory, and each has its own."""
    numbers = {SYS_SOCKETPAIR: 360, SYS_CONNECT: 362, SYS_ACCEPT: 364, SYS_SEND: 369, SYS_RECV: 371}
    path, missing = str(tmp_path / "real"), str(tmp_path / "missing")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    tracked = track("ipc", signals=False)

    def call(which: int, *arguments: int | bytes) -> int:
        if by == "socketcall":
            result: int = old_call(SOCKETCALL, which, old_call.words(*arguments))
        else:
            result = old_call(numbers[which], *arguments, *[0] * (6 - len(arguments)))
        return result

    def talk() -> None:
        client = socket.socket(socket.AF_UNIX)
        for name in (missing, path):
            address = struct.pack("=H", socket.AF_UNIX) + name.encode()
            call(SYS_CONNECT, client.fileno(), address, len(address))
        stream = call(SYS_ACCEPT, server.fileno(), 0, 0)
        call(SYS_SEND, client.fileno(), bytes(50), 50, 0)
        call(SYS_RECV, stream, bytes(60), 60, 0)
        call(SYS_SOCKETPAIR, socket.AF_UNIX, socket.SOCK_STREAM, 0, bytes(8))

    pid = spawn(talk)
    os.waitpid(pid, 0)

    rows = tracked.rows()

    assert told(rows, "kind", "action", "error", "path", "tpid") == [
        ("unix", "connect", "ENOENT", missing, "0"),
        ("unix", "connect", "", path, str(os.getpid())),
        ("unix", "accept", "", path, str(pid)),
        ("unix", "create", "", "", "0"),
    ]
    assert len(set(rows.fixed["object"].tolist())) == 3  # the client's, the stream, the pair
    assert 0 not in rows.fixed["object"].tolist()
    assert traffic(tracked, UNIX) == sorted(
        [(pid, os.getpid(), 1, 0, 1, 0, 50), (pid, pid, 1, 1, 0, 50, 0)]
    )


def test_two_bytes_of_machine_code_hide_nothing_of_system_v(
    track: Any, spawn: Any, old_call: Any
) -> None:
    """There is one call for all of it, and its first argument says which is meant."""
    key = 0x65010000 | os.getpid() & 0xFFFF
    tracked = track("ipc", signals=False)
    seen, tell = os.pipe()

    def talk() -> None:
        queue = old_call(IPC, MSGGET, key, IPC_CREAT | 0o600)
        old_call(IPC, MSGSND, queue, 30, 0, struct.pack("=i", 1) + bytes(30))
        receiving = bytes(100)
        old_call(IPC, MSGRCV, queue, 90, 0, old_call.words(receiving, 0))
        old_call(IPC, MSGSND, queue, 40, 0, struct.pack("=i", 1) + bytes(40))
        old_call(IPC, NEW_MSGRCV, queue, 90, 0, receiving, 0)
        old_call(IPC, MSGCTL, queue, IPC_RMID)
        semaphores = old_call(IPC, SEMGET, IPC_PRIVATE, 1, 0o600)
        old_call(IPC, SEMOP, semaphores, 1, 0, struct.pack("=Hhh", 0, 1, 0))
        old_call(IPC, SEMCTL, semaphores, 0, IPC_RMID, bytes(4))
        memory = old_call(IPC, SHMGET, IPC_PRIVATE, 123_456, 0o600)
        old_call(IPC, SHMAT, memory, 0, bytes(4), 0)
        old_call(IPC, SHMCTL, memory, IPC_RMID)
        os.write(tell, struct.pack("=3i", queue, semaphores, memory))

    pid = spawn(talk)
    os.waitpid(pid, 0)
    queue, semaphores, memory = map(str, struct.unpack("=3i", os.read(seen, 12)))

    rows = tracked.rows()

    assert told(rows, "kind", "action", "object", "error") == [
        ("queue", "open", queue, ""),
        ("queue", "remove", queue, ""),
        ("semaphore", "open", semaphores, ""),
        ("semaphore", "remove", semaphores, ""),
        ("memory", "open", memory, ""),
        ("memory", "attach", memory, ""),
        ("memory", "remove", memory, ""),
    ]
    assert rows.fixed["key"].tolist()[0] == key
    assert rows.fixed["bytes"].tolist()[4] == 123_456
    counts = tracked.counts()
    totals = ("object", "count", "reads", "writes", "read_bytes", "write_bytes")
    found = {row["kind"]: tuple(row[name] for name in totals) for row in counts}
    assert found[QUEUE] == (int(queue), 4, 2, 2, 70, 70)
    assert found[SEMAPHORE] == (int(semaphores), 1, 0, 0, 0, 0)


def test_two_bytes_of_machine_code_hide_no_posix_queue(
    track: Any, spawn: Any, old_call: Any
) -> None:
    mq_open, mq_unlink, mq_timedsend, mq_timedreceive = 277, 278, 279, 280
    name = f"eunomia-old-{os.getpid()}".encode()
    tracked = track("ipc", signals=False)

    def talk() -> None:
        queue = old_call(mq_open, name, os.O_CREAT | os.O_RDWR, 0o600, 0)
        old_call(mq_timedsend, queue, bytes(25), 25, 0, 0)
        room = os.memfd_create("room")
        os.truncate(room, 8192)
        at = old_call(192, 0, 8192, 3, 1, room, 0) & 0xFFFFFFFF  # mmap2, shared
        old_call(mq_timedreceive, queue, at, 8192, 0, 0)
        old_call(mq_unlink, name)

    pid = spawn(talk)
    os.waitpid(pid, 0)

    assert told(tracked.rows(), "kind", "action", "path", "error") == [
        ("mqueue", "open", name.decode(), ""),
        ("mqueue", "remove", name.decode(), ""),
    ]
    assert traffic(tracked, MQUEUE) == [(pid, 0, 2, 1, 1, 25, 25)]


# ---- all of it ----


def talk_by_all() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    os.read(reading, 1)
    one, _ = socket.socketpair()
    one.send(b"x")
    semaphores = libc.semget(IPC_PRIVATE, 1, 0o600)
    libc.semop(semaphores, struct.pack("=Hhh", 0, 1, 0), 1)
    libc.semctl(semaphores, 0, IPC_RMID)
    queue = libc.msgget(IPC_PRIVATE, 0o600)
    libc.msgsnd(queue, struct.pack("=q", 1), 0, 0)
    libc.msgctl(queue, IPC_RMID, None)
    memory = libc.shmget(IPC_PRIVATE, 1, 0o600)
    libc.shmctl(memory, IPC_RMID, None)
    os.kill(os.getpid(), signal.SIGCONT)


ALL = {"signal", "unix", "pipe", "queue", "semaphore", "memory"}


@pytest.mark.parametrize(
    ("param", "kinds"),
    [
        ("signals", {"signal"}),
        ("unix_sockets", {"unix"}),
        ("pipes", {"pipe"}),
        ("queues", {"queue"}),
        ("semaphores", {"semaphore"}),
        ("shared_memory", {"memory"}),
    ],
)
def test_each_kind_can_be_left_out(
    track: Any, spawn: Any, cgroup: Path, param: str, kinds: set[str]
) -> None:
    tracked = track("ipc", **{param: False})
    os.waitpid(spawn(talk_by_all), 0)

    rows, counts = tracked.rows(), tracked.counts()

    assert set(rows.text("kind")) == ALL - kinds
    names = {UNIX: "unix", PIPE: "pipe", QUEUE: "queue", SEMAPHORE: "semaphore"}
    assert {names[row["kind"]] for row in counts} == set(names.values()) - kinds
    assert tracked.account(cgroup).lost == 0


def test_what_finds_no_room_is_told_as_lost(track: Any, spawn: Any, cgroup: Path) -> None:
    tracked = track("ipc", signals=False, entries=8)

    def many() -> None:
        for _ in range(40):
            _, writing = os.pipe()
            for _ in range(10):
                os.write(writing, b"x")

    os.waitpid(spawn(many), 0)

    assert len(tracked.rows()) == 40
    counted = sum(row["count"] for row in tracked.counts())
    assert counted == 80
    assert tracked.account(cgroup).lost == 400 - counted


def test_without_traffic_nothing_is_counted(track: Any, spawn: Any) -> None:
    tracked = track("ipc", traffic=False)
    os.waitpid(spawn(talk_by_all), 0)

    assert tracked.counts() == []
    assert set(tracked.rows().text("kind")) == ALL


def test_a_hostile_name_is_escaped_at_both_ends(track: Any, spawn: Any) -> None:
    tracked = track("ipc", traffic=False, where_signal=struct.pack("=qq", 18, 18))

    def rename_and_signal() -> None:
        Path("/proc/self/comm").write_bytes(b"\x1b[2J\n\xff")
        os.kill(os.getpid(), signal.SIGCONT)

    os.waitpid(spawn(rename_and_signal), 0)

    rows = tracked.rows()

    assert told(rows, "comm", "tcomm") == [("\\x1b[2J\\n\\xff", "\\x1b[2J\\n\\xff")]
