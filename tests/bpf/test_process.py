# SPDX-License-Identifier: Apache-2.0
"""Programs that start in a cgroup, and processes that end there."""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf

libc = ctypes.CDLL(None, use_errno=True)


def columns(rows: Any, *names: str) -> list[tuple[str, ...]]:
    return list(zip(*(rows.text(name) for name in names), strict=True))


def test_a_program_starts_with_its_arguments_and_ends_with_its_code(
    track: Any, spawn: Any, cgroup: Path
) -> None:
    tracked = track("process")
    arguments = ["sh", "-c", "exit 7", "", "two words"]
    pid = spawn(lambda: os.execv("/bin/sh", arguments))
    os.waitpid(pid, 0)

    rows = tracked.rows()

    assert columns(rows, "kind", "filename", "exit_code", "signal") == [
        ("exec", "/bin/sh", "0", ""),
        ("exit", "", "7", ""),
    ]
    assert rows.json("args") == ['["sh","-c","exit 7","","two words"]', "[]"]
    assert rows.text("args")[0] == "sh -c 'exit 7' '' 'two words'"
    assert rows.fixed["pid"].tolist() == [pid, pid]
    assert rows.fixed["ppid"].tolist() == [os.getpid()] * 2
    assert rows.text("comm") == ["sh", "sh"]
    started, ended = rows.fixed["time"].tolist()
    began = rows.fixed["start_time"].tolist()
    assert began[0] == began[1] < started < ended
    assert rows.fixed["duration"].tolist() == [0, ended - began[0]]
    assert tracked.account(cgroup).matched == 2


def test_a_killed_process_says_which_signal(track: Any, spawn: Any) -> None:
    tracked = track("process")
    os.waitpid(spawn(lambda: os.kill(os.getpid(), signal.SIGKILL)), 0)

    assert columns(tracked.rows(), "kind", "exit_code", "signal") == [("exit", "0", "SIGKILL")]


def test_a_process_of_many_threads_ends_once_with_the_code_of_the_whole(
    track: Any, spawn: Any
) -> None:
    program = (
        "import os, threading, time\n"
        "for _ in range(8): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "os._exit(3)"
    )
    tracked = track("process", starts=False)
    pid = spawn(lambda: os.execv(sys.executable, [sys.executable, "-I", "-c", program]))
    os.waitpid(pid, 0)

    rows = tracked.rows()

    assert columns(rows, "kind", "exit_code") == [("exit", "3")]
    assert rows.fixed["pid"].tolist() == [pid]


def test_a_thread_that_ends_before_its_process_is_no_end(track: Any, spawn: Any) -> None:
    program = (
        "import threading\n"
        "t = threading.Thread(target=int); t.start(); t.join()\n"
        "raise SystemExit(4)"
    )
    tracked = track("process", starts=False)
    pid = spawn(lambda: os.execv(sys.executable, [sys.executable, "-I", "-c", program]))
    os.waitpid(pid, 0)

    assert columns(tracked.rows(), "exit_code") == [("4",)]


@pytest.mark.parametrize(
    ("params", "seen"),
    [
        ({"args": False}, [("exec", ""), ("exit", "")]),
        ({"max_args": 6}, [("exec", "sh -c"), ("exit", "")]),
        ({"max_args": 8}, [("exec", "sh -c ex"), ("exit", "")]),
        (
            {"ends": False},
            [
                ("exec", "sh -c exit"),
            ],
        ),
        ({"starts": False}, [("exit", "")]),
    ],
)
def test_params_choose_what_is_reported(
    track: Any, spawn: Any, params: dict[str, Any], seen: list[tuple[str, str]]
) -> None:
    tracked = track("process", **params)
    os.waitpid(spawn(lambda: os.execv("/bin/sh", ["sh", "-c", "exit"])), 0)

    assert columns(tracked.rows(), "kind", "args") == seen


def test_arguments_of_bytes_that_are_no_text_are_escaped(track: Any, spawn: Any) -> None:
    tracked = track("process", ends=False)
    os.waitpid(spawn(lambda: os.execv("/bin/true", [b"\x1b]0;title\x07", b"\xc3\x28"])), 0)

    rows = tracked.rows()

    assert rows.text("args") == ["\\x1b]0;title\\x07 \\xc3("]
    assert rows.json("args") == ['["\\u001b]0;title\\u0007","\\\\xc3("]']


def test_a_storm_of_short_processes_is_complete(track: Any, spawn: Any, cgroup: Path) -> None:
    tracked = track("process")
    script = "i=0; while [ $i -lt 200 ]; do /bin/true marker; i=$((i+1)); done"
    os.waitpid(spawn(lambda: os.execv("/bin/sh", ["sh", "-c", script])), 0)

    rows = tracked.rows()

    kinds = rows.text("kind")
    assert rows.text("args").count("/bin/true marker") == 200
    assert (kinds.count("exec"), kinds.count("exit")) == (201, 201)
    assert tracked.account(cgroup).matched == 402
    assert tracked.account(cgroup).lost == 0


def test_programs_that_fail_to_start_tell_why_when_asked_for(
    track: Any, spawn: Any, tmp_path: Path
) -> None:
    script = tmp_path / "no\nprogram"
    script.write_bytes(b"")
    many = ["x" * 100] * 100

    def calls() -> None:
        for path, arguments in (("/none", ["none", "", "a b"]), (str(script), ["s"]), ("/", many)):
            with suppress(OSError):
                os.execv(path, arguments)
        os.execv("/bin/true", ["true"])

    tracked = track("process", failed=True, ends=False, max_args=250)
    pid = spawn(calls)
    os.waitpid(pid, 0)

    rows = tracked.rows()

    shown = str(script).replace("\n", "\\n")
    assert columns(rows, "kind", "error", "filename") == [
        ("exec", "ENOENT", "/none"),
        ("exec", "EACCES", shown),
        ("exec", "EACCES", "/"),
        ("exec", "", "/bin/true"),
    ]
    assert rows.json("args")[:2] == ['["none","","a b"]', '["s"]']
    assert [len(each) for each in rows.bytes_of("args")] == [10, 2, 250, 5]
    assert rows.fixed["pid"].tolist() == [pid] * 4


def test_two_bytes_of_machine_code_hide_no_program(track: Any, spawn: Any, old_call: Any) -> None:
    """A 64-bit program takes the way of 32-bit ones by `int 0x80`."""
    execve, execveat, at_cwd = 11, 358, -100

    def calls() -> None:
        old_call(execve, b"/none", old_call.words(b"none", b"", b"a b", 0), 0)
        old_call(execveat, at_cwd, b"/", old_call.words(b"root", 0), 0, 0)
        old_call(221, b"/none", 0, 0)  # execve on arm64, and something else here
        old_call(execve, b"/bin/true", old_call.words(b"true", b"old", 0), old_call.words(0))

    tracked = track("process", failed=True)
    os.waitpid(spawn(calls), 0)

    rows = tracked.rows()

    assert columns(rows, "kind", "error", "filename") == [
        ("exec", "ENOENT", "/none"),
        ("exec", "EACCES", "/"),
        ("exec", "", "/bin/true"),
        ("exit", "", ""),
    ]
    assert rows.json("args")[:3] == ['["none","","a b"]', '["root"]', '["true","old"]']


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is a way into x86-64 alone")
def test_the_numbers_of_x32_hide_no_program(track: Any, spawn: Any, old_call: Any) -> None:
    """They have a bit that others have not; a kernel without x32 refuses them all."""
    x32_execve = 1 << 30 | 520
    tracked = track("process", failed=True, ends=False)
    words = ctypes.c_void_p(old_call.address(old_call.words(b"none", b"two words", 0)))
    os.waitpid(spawn(lambda: libc.syscall(x32_execve, b"/none", words, None)), 0)

    rows = tracked.rows()

    assert rows.text("filename") == ["/none"]
    assert rows.json("args") == ['["none","two words"]']
    assert set(rows.text("error")) <= {"ENOENT", "ENOSYS"}


def test_a_fork_is_the_childs_event_when_asked_for(track: Any, spawn: Any) -> None:
    told, tell = os.pipe()

    def fork() -> None:
        child = os.fork()
        if child:
            os.write(tell, child.to_bytes(4))
            os.waitpid(child, 0)

    tracked = track("process", forks=True, starts=False)
    pid = spawn(fork)
    os.waitpid(pid, 0)
    child = int.from_bytes(os.read(told, 4))

    rows = tracked.rows()

    assert rows.text("kind") == ["fork", "exit", "exit"]
    assert rows.fixed["pid"].tolist() == [child, child, pid]
    assert rows.fixed["ppid"].tolist() == [pid, pid, os.getpid()]
    assert rows.fixed["start_time"][0] == rows.fixed["start_time"][1]


def test_threads_that_end_are_told_when_asked_for_and_the_last_one_is_the_process(
    track: Any, spawn: Any
) -> None:
    program = (
        "import threading\n"
        "for _ in range(3): t = threading.Thread(target=int); t.start(); t.join()\n"
        "raise SystemExit(4)"
    )
    tracked = track("process", threads=True, starts=False)
    pid = spawn(lambda: os.execv(sys.executable, [sys.executable, "-I", "-c", program]))
    os.waitpid(pid, 0)

    rows = tracked.rows()

    assert columns(rows, "kind", "exit_code") == [("thread", "0")] * 3 + [("exit", "4")]
    assert rows.fixed["pid"].tolist() == [pid] * 4
    assert len(set(rows.fixed["tid"].tolist())) == 4
    assert rows.fixed["duration"][:3].max() < rows.fixed["duration"][3]


def test_a_core_dump_is_told(track: Any, spawn: Any, tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    pattern.write_text(f"{tmp_path}/core")

    def abort(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (size, size))
        os.kill(os.getpid(), signal.SIGTRAP)

    tracked = track("process")
    try:
        statuses = [os.waitpid(spawn(partial(abort, size)), 0)[1] for size in (0, 1 << 30)]
    finally:
        pattern.write_text(before)

    assert columns(tracked.rows(), "signal", "core_dumped") == [
        ("SIGTRAP", str(os.WCOREDUMP(status)).lower()) for status in statuses
    ]


@pytest.mark.parametrize(
    ("where", "seen"),
    [
        ({"exit_code": (1, 2)}, [("exit", "2", "")]),
        ({"signal": (9, 9)}, [("exit", "0", "SIGKILL")]),
        ({"kind": (1, 1)}, [("exec", "0", "")] * 3),
        ({"ppid": (1, 1)}, []),
        ({"kind": (2, 2), "exit_code": (0, 0)}, [("exit", "0", ""), ("exit", "0", "SIGKILL")]),
    ],
)
def test_conditions_are_decided_in_the_kernel(
    track: Any,
    spawn: Any,
    cgroup: Path,
    where: dict[str, tuple[int, int]],
    seen: list[tuple[str, str, str]],
) -> None:
    ranges = {f"where_{name}": struct.pack("=2q", *ends) for name, ends in where.items()}
    tracked = track("process", **ranges)
    for script in ("exit 0", "exit 2", "kill -9 $$"):
        os.waitpid(spawn(partial(os.execv, "/bin/sh", ["sh", "-c", script])), 0)

    assert columns(tracked.rows(), "kind", "exit_code", "signal") == seen
    assert tracked.account(cgroup).matched == len(seen)
