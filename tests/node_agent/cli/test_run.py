# SPDX-License-Identifier: Apache-2.0
"""`eunomia run` as a person uses it, with real programs in the real kernel."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
Any_ = Callable[..., Any]
COMPLETE = "0 lost, 0 limited: 100 % complete"


def test_tells_of_each_open_once_and_of_all_in_the_last_line(start: Any_, opener: Any_) -> None:
    command = start("run", "opensnoop", "--prefix", "/nowhere/a", "--fmt", "json")
    opener("/nowhere/a", 3000).go()
    done = command.end()
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["path"] for row in rows] == [f"/nowhere/a{i}" for i in range(3000)]
    assert {row["error"] for row in rows} == {"ENOENT"}
    assert done.err == f"3,000 events, {COMPLETE}\n"
    assert done.code == 0


def test_ends_by_itself_and_at_sigterm(run: Any_, start: Any_) -> None:
    done = run("run", "opensnoop", "-T", "0.5", "--prefix", "/nowhere/b")
    assert (done.code, done.out, done.err) == (0, "", f"0 events, {COMPLETE}\n")
    done = start("run", "opensnoop", "--prefix", "/nowhere/b").end(signal.SIGTERM)
    assert (done.code, done.last_line) == (0, f"0 events, {COMPLETE}")


def test_the_table_is_aligned_and_leaves_out_nothing(start: Any_, opener: Any_) -> None:
    command = start("run", "opensnoop", "--prefix", "/nowhere/c")
    process = opener("/nowhere/c" + "x" * 120, 2)
    process.go()
    head, *rows = command.end().out.splitlines()
    names = [name for name in head.split() if name != "CONTAINER"]  # where there are any
    assert names == ["TIME", "COMM", "PID", "FD", "ERROR", "FLAGS", "MODE", "PATH"]
    assert [row[head.index("PATH") :] for row in rows] == [
        f"/nowhere/c{'x' * 120}{i}" for i in range(2)
    ]
    assert {row[: head.index("FD")].split()[-1] for row in rows} == {str(process.process.pid)}


def test_csv_is_read_back_as_it_was(start: Any_, opener: Any_) -> None:
    command = start("run", "opensnoop", "--prefix", "/nowhere/d", "--fmt", "csv")
    opener('/nowhere/d,"quoted", ', 3).go()
    out = command.end().out
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["path"] for row in rows] == [f'/nowhere/d,"quoted", {i}' for i in range(3)]
    assert {(row["tracker"], row["source"], row["fd"]) for row in rows} == {
        ("opensnoop", "events", "-1")
    }
    assert out.splitlines(keepends=True)[0].endswith(",path\r\n")


@pytest.mark.parametrize("fmt", ["table", "json", "csv"])
def test_nothing_of_a_path_or_name_reaches_the_terminal_unescaped(
    start: Any_, opener: Any_, fmt: str
) -> None:
    command = start("run", "opensnoop", "--prefix", "/nowhere/e", "--fmt", fmt)
    hostile = b"/nowhere/e\x1b[2J\r\n\x07\xff\xe2\x80\xae\xc2\x9b"
    opener(hostile, 2, comm=b'\x1b[31m\n\xff,"').go()
    out = command.end().out
    assert len(out.splitlines()) == 2 + (fmt != "json")
    assert all(each.isprintable() or each in "\r\n" for each in out)
    assert "x1b[2J" in out or "u001b[2J" in out
    assert "x1b[31m" in out or "u001b[31m" in out
    assert out.isascii()


def test_only_the_process_user_and_condition_that_are_asked_for(start: Any_, opener: Any_) -> None:
    wanted, other = opener("/nowhere/f", 50), opener("/nowhere/f", 50)
    command = start(
        *("run", "opensnoop", "-p", str(wanted.process.pid), "--uid", "0", "--comm", "python"),
        *("--where", 'path.startsWith("/nowhere/f1")', "--fmt", "json"),
    )
    wanted.go()
    other.go()
    done = command.end()
    paths = [json.loads(line)["path"] for line in done.out.splitlines()]
    assert paths == ["/nowhere/f1", *(f"/nowhere/f1{i}" for i in range(10))]
    assert {json.loads(line)["pid"] for line in done.out.splitlines()} == {wanted.process.pid}
    assert done.last_line.endswith(COMPLETE)


def test_what_descends_from_a_process_is_traced_where_it_is_asked_for(start: Any_) -> None:
    line = "read go; cat /nowhere/child1; sh -c 'cat /nowhere/child2; true'; true"
    for children, wanted in ((), []), (("--children",), ["/nowhere/child1", "/nowhere/child2"]):
        shell = subprocess.Popen(
            ["sh", "-c", line], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        command = start(
            *("run", "opensnoop", "-p", str(shell.pid), *children),
            *("--prefix", "/nowhere/child", "--fmt", "json"),
        )
        shell.communicate("\n")
        rows = [json.loads(line) for line in command.end().out.splitlines()]
        assert [row["path"] for row in rows] == wanted


@pytest.fixture
def cgroups(make_cgroup: Callable[..., Path]) -> list[Path]:
    """A cgroup, one in it and one beside it."""
    outer = make_cgroup("outer")
    return [outer, make_cgroup("inner", parent=outer), make_cgroup("beside")]


def test_a_cgroup_is_traced_with_all_below_it_and_nothing_beside(
    start: Any_, opener: Any_, cgroups: list[Path]
) -> None:
    made = [opener(f"/nowhere/cgroup/{each.name}-", 20) for each in cgroups]
    for each, place in zip(made, cgroups, strict=True):
        (place / "cgroup.procs").write_text(str(each.process.pid))
    folder, path = str(cgroups[0]), f"/{cgroups[0].name}"
    for written in (folder, path):
        command = start(
            *("run", "opensnoop", "--cgroup", written, "--prefix", "/nowhere/cgroup/"),
            *("--fmt", "json"),
        )
        if written == path:
            for each in made:
                each.go()
        done = command.end()
        assert done.last_line.endswith(COMPLETE)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 40
    assert {row["cgroup"] for row in rows} == {path, f"{path}/inner"}


def test_a_reader_that_has_enough_ends_it_quietly(opener: Any_, start: Any_) -> None:
    command = start("run", "opensnoop", "--prefix", "/nowhere/g", "--fmt", "json")
    opener("/nowhere/g", 100).go()
    out = command.process.stdout
    assert json.loads(out.readline())["path"] == "/nowhere/g0"
    out.close()
    assert command.process.wait(10) == 0
    assert command.process.stderr.read() == b""


def test_a_reader_that_stopped_reading_does_not_keep_ctrl_c_from_ending_it(
    start: Any_, opener: Any_
) -> None:
    command = start("run", "opensnoop", "--prefix", "/nowhere/h", "--fmt", "json")
    opener("/nowhere/h", 5000).go()
    command.process.send_signal(signal.SIGINT)
    assert command.process.wait(15) == 0
    told = len(command.process.stdout.read().splitlines())
    last = command.process.stderr.read().decode().splitlines()[-1]
    assert 0 < told < 5000
    assert last == f"5,000 events, {5000 - told:,} lost, 0 limited: {told * 100 // 5000} % complete"


def test_a_full_disk_is_told_and_ends_nothing(start: Any_, opener: Any_) -> None:
    with Path("/dev/full").open("wb") as full:
        command = start("run", "opensnoop", "--prefix", "/nowhere/i", stdout=full)
        opener("/nowhere/i", 100).go()
        done = command.end()
    assert done.code == 0
    assert "standard output: No space left on device" in done.err
    assert done.last_line == "100 events, 100 lost, 0 limited: 0 % complete"


def test_files_one_a_container_rotated(start: Any_, opener: Any_, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    command = start("run", "opensnoop", "--prefix", "/nowhere/j", "-o", str(folder))
    opener("/nowhere/j", 20).go()
    done = command.end()
    assert (done.out, done.err) == ("", f"20 events, {COMPLETE}\n")
    (file,) = folder.iterdir()
    assert file.name == "host.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["path"] for row in rows] == [f"/nowhere/j{i}" for i in range(20)]


def test_top_shows_the_most_first_and_leaves_the_last_table(start: Any_, opener: Any_) -> None:
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("4H", 20, 100, 0, 0))
    command = start(
        *("run", "opensnoop", "--prefix", "/nowhere/top", "--top", "-i", "600"),
        stdout=inside,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "20"},
    )
    os.close(inside)
    few, many = opener("/nowhere/top", 30), opener("/nowhere/top", 700)
    few.go()
    many.go()
    done = command.end()
    assert (done.code, done.err) == (0, f"730 events, {COMPLETE}\n")
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    counts = [line.split()[-2:] for line in lines if " 730" in line or " python " in f" {line}"]
    first = counts.index([str(many.process.pid), "700"])
    assert counts[first + 1] == [str(few.process.pid), "30"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run opnsnoop", "there is no tracker 'opnsnoop'; did you mean opensnoop?"),
        ("run opensnoop --flags x", "Invalid value for '--flags': "),
        ("run opensnoop --flags -1", "Invalid value for '--flags': "),
        (f"run opensnoop --prefix {'x' * 64}", "--prefix must be a string of at most 63 bytes"),
        ("run opensnoop --nope", "No such option: --nope"),
        ("run opensnoop -p 4194305", "there is no process 4194305"),
        ("run opensnoop --children", "--children needs the process that they descend from"),
        ("run opensnoop -T 0", "-T must be above 0 and below a year"),
        ("run opensnoop -T nan", "-T must be above 0 and below a year"),
        ("run opensnoop -T 5s", "Invalid value for '-T' / '--duration': "),
        ("run opensnoop -i inf", "-i must be from 0.1 to 3600 seconds"),
        ("run opensnoop --buffer 0", "Invalid value for '--buffer': "),
        ("run opensnoop --sample 0", "Invalid value for '--sample': "),
        (
            "run syscall --sample 10",
            '--sample must be 1 or absent, not 10: tracker "syscall"',
        ),
        ("run opensnoop -p x", "Invalid value for '-p' / '--pid': "),
        ("run opensnoop -c no-such-container", "there is no container or pod 'no-such-container'"),
        ("run opensnoop --where nope==1", '--where: at character 1: no column "nope"'),
        ("run opensnoop --cgroup /no/such", "--cgroup: there is no cgroup /no/such: /sys/fs/"),
        ("run opensnoop --top", "--top needs a terminal, and one tracker"),
        ("run opensnoop --fmt xml", "Invalid value for '--fmt': "),
        ("run opensnoop -o /proc/nope", "/proc/nope: "),
        ("trackers nope", "there is no tracker 'nope'; there are "),
        ("nope", "No such command 'nope'."),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(ask: Any_, arguments: str, told: str) -> None:
    done = ask(*arguments.split())
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith(f"eunomia: {told}")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


def test_without_root_it_says_what_is_missing(run: Any_) -> None:
    done = run("run", "opensnoop", user=65534, group=65534, extra_groups=[])
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "eunomia: not allowed to load BPF programs: CAP_BPF and CAP_PERFMON are missing; run it "
        "as root, such as with sudo\n"
    )
