# SPDX-License-Identifier: Apache-2.0
"""Who makes an event of a job that kills is dead before it is in user space again."""

import os
import signal
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eunomia_agent.trackers.key import Enforcement

pytestmark = pytest.mark.bpf

SLOT = bytes(4)
KILLED = 2
"""enum subject_flags: the process was sent SIGKILL."""


def opens(path: Path, told: int) -> None:
    """Open a file, and tell how far that came."""
    os.write(told, b"before")
    os.open(path, os.O_RDONLY)
    os.write(told, b" and after")


def fate(spawn: Any, path: Path, **into: Path) -> tuple[int, bytes]:
    """Return the signal that ended a process which opened a file, 0: none; and what it told."""
    reading, writing = os.pipe()
    pid = spawn(lambda: opens(path, writing), **into)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    with open(reading, "rb") as told:
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, told.read()


@pytest.fixture
def folder() -> Iterator[Path]:
    """One whose path is short enough for a param."""
    with tempfile.TemporaryDirectory(prefix="kill-") as path:
        yield Path(path)


@pytest.fixture
def secret(folder: Path) -> Path:
    path = folder / "secret"
    path.touch()
    return path


@pytest.fixture
def other(folder: Path) -> Path:
    path = folder / "other"
    path.touch()
    return path


def killed(tracked: Any) -> int:
    return int.from_bytes(tracked.object.map("enforced").lookup(SLOT), "little")


def test_who_does_it_is_killed_and_does_not_see_what_came_of_it(
    track: Any, spawn: Any, make_cgroup: Any, secret: Path, other: Path
) -> None:
    elsewhere = make_cgroup("elsewhere")
    tracked = track("opensnoop", enforcement=Enforcement.KILL, prefix=str(secret))

    assert fate(spawn, other) == (0, b"before and after")
    assert fate(spawn, secret, into=elsewhere) == (0, b"before and after")
    assert killed(tracked) == 0

    assert fate(spawn, secret) == (signal.SIGKILL, b"before")
    rows = tracked.rows()
    assert rows.text("path") == [str(secret)]
    assert rows.fixed["subject_flags"].tolist() == [KILLED]
    assert killed(tracked) == 1


def test_killing_has_no_limit_when_telling_has(
    track: Any, spawn: Any, cgroup: Path, secret: Path
) -> None:
    tracked = track("opensnoop", enforcement=Enforcement.KILL, prefix=str(secret))
    tracked.limit([(2**64 - 1, 0)])

    assert [fate(spawn, secret)[0] for _ in range(5)] == [signal.SIGKILL] * 5
    assert len(tracked.rows()) == 0
    assert tracked.account(cgroup).limited == killed(tracked) == 5


@pytest.mark.parametrize("why", ["the agent itself", "not known yet", "silent for too long"])
def test_nobody_is_killed_who_may_not_be(
    track: Any, spawn: Any, cgroup: Path, secret: Path, why: str
) -> None:
    own = cgroup.stat().st_ino if why == "the agent itself" else 0
    tracked = track("opensnoop", enforcement=Enforcement.KILL, own_cgroup=own, prefix=str(secret))
    if why == "not known yet":
        tracked.target(cgroup, state=1)
    if why == "silent for too long":
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        tracked.object.map("enforce_until").update(SLOT, struct.pack("=Q", now))

    assert fate(spawn, secret) == (0, b"before and after")
    rows = tracked.rows()
    assert rows.text("path") == [str(secret)]
    assert not rows.fixed["subject_flags"][0] & KILLED
    assert killed(tracked) == 0


@pytest.mark.skipif("EUNOMIA_EMULATED" in os.environ, reason="needs a CPU of its own for times")
def test_it_is_dead_within_a_millisecond(track: Any, spawn: Any, secret: Path) -> None:
    tracked = track("opensnoop", enforcement=Enforcement.KILL, prefix=str(secret))
    process = track("process")
    for _ in range(20):
        assert fate(spawn, secret)[0] == signal.SIGKILL

    calls, rows = tracked.rows().fixed, process.rows()
    seen = dict(zip(calls["pid"].tolist(), calls["time"].tolist(), strict=True))
    ends = rows.take(np.array([kind == "exit" for kind in rows.text("kind")])).fixed
    ended = dict(zip(ends["pid"].tolist(), ends["time"].tolist(), strict=True))
    assert len(seen) == 20
    assert statistics.median(ended[pid] - seen[pid] for pid in seen) < 1_000_000
