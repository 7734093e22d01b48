# SPDX-License-Identifier: Apache-2.0
"""Programs that start in a cgroup, and processes that end there."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bpf


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
