# SPDX-License-Identifier: Apache-2.0
"""A component's process: started once, found again by anybody, and never mistaken for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.cluster.process import BOOT_ID, Process, alive, identity
from dev.folders import PROJECT

Named = Callable[[str], Process]


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Named]:
    """Processes in a folder of the test's own, all ended after it."""
    started: dict[str, Process] = {}

    def make(name: str) -> Process:
        return started.setdefault(name, Process(name, pids=tmp_path / "pids", logs=tmp_path))

    yield make
    for process in started.values():
        process.stop(patience=0.1)


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_runs_in_its_own_session_until_it_is_stopped(named: Named) -> None:
    sleeper = named("sleeper")
    pid = sleeper.start(["sleep", "60"])

    assert sleeper.pid() == pid
    assert os.getsid(pid) == pid != os.getsid(0)
    assert sleeper.start(["sleep", "60"]) == pid, "a second start finds the first"

    sleeper.stop()
    assert (alive(pid), sleeper.pid(), sleeper.pidfile.exists()) == (None, None, False)
    sleeper.stop()


def test_writes_both_outputs_to_its_log_and_sees_the_extra_environment(named: Named) -> None:
    talker = named("talker")
    talker.start(
        ["sh", "-c", "echo $WORD; echo $WORD-2 >&2"], extra_environment={"WORD": "measured"}
    )
    assert eventually(lambda: talker.log.read_text() == "measured\nmeasured-2\n")


def test_one_that_ignores_sigterm_is_killed_when_patience_ends(named: Named) -> None:
    stubborn = named("stubborn")
    script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    pid = stubborn.start(["sh", "-c", script])
    assert eventually(lambda: stubborn.log.read_text() == "deaf\n")

    begun = time.monotonic()
    stubborn.stop(patience=0.2)
    assert alive(pid) is None
    assert 0.2 <= time.monotonic() - begun < 5


def test_a_pid_that_belongs_to_another_process_by_now_is_left_alone(named: Named) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        stat = Path(f"/proc/{stranger.pid}/stat").read_text()
        fields = stat.split(" ")
        fields[21] = str(int(fields[21]) - 1)
        before = named("before")
        before.pidfile.parent.mkdir()
        before.pidfile.write_text(f"{BOOT_ID.read_text().strip()}\n{' '.join(fields)}")

        assert before.pid() is None
        before.stop(patience=0.1)
        assert stranger.poll() is None
        assert not before.pidfile.exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_a_pidfile_of_an_earlier_boot_names_nobody(named: Named) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        stat = Path(f"/proc/{stranger.pid}/stat").read_text()
        before = named("before")
        before.pidfile.parent.mkdir()
        before.pidfile.write_text(f"00000000-0000-0000-0000-000000000000\n{stat}")

        assert before.pid() is None
        before.stop(patience=0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_another_tool_stops_what_a_killed_tool_has_started(named: Named, tmp_path: Path) -> None:
    script = (
        "import os, signal, pathlib\n"
        "from dev.cluster.process import Process\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "Process('orphan', pids=folder / 'pids', logs=folder).start(['sleep', '60'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    tool = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False)
    assert tool.returncode == -signal.SIGKILL

    orphan = named("orphan")
    pid = orphan.pid()
    assert pid is not None
    orphan.stop()
    assert alive(pid) is None


def test_a_program_that_does_not_exist_says_so_in_the_log(named: Named) -> None:
    missing = named("missing")
    missing.start(["/nonexistent/program"])
    assert eventually(lambda: missing.pid() is None)
    assert "/nonexistent/program: not found" in missing.log.read_text()


def test_a_cgroup_that_is_not_there_is_never_passed_over(named: Named, tmp_path: Path) -> None:
    stray = named("stray")
    stray.start(["sleep", "60"], cgroup=tmp_path / "no-cgroup")
    assert eventually(lambda: stray.pid() is None)
    assert "no-cgroup" in stray.log.read_text()


@pytest.mark.parametrize(
    "text", ["", "boot", "boot\n", "boot\n12 (sh) S 1 2 3", "\n1 (a) S" + " 1" * 30]
)
def test_a_torn_pidfile_names_nobody(named: Named, text: str) -> None:
    assert identity(text) is None
    torn = named("torn")
    torn.pidfile.parent.mkdir()
    torn.pidfile.write_text(text)
    assert torn.pid() is None
    torn.stop()
    assert not torn.pidfile.exists()


def test_the_start_time_is_found_behind_any_command_name() -> None:
    stat = "77 (a) b (c d) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9"
    known = identity(f"boot-1\n{stat}")
    assert known is not None
    assert (known.boot, known.pid, known.start) == ("boot-1", 77, 4242)
