# SPDX-License-Identifier: Apache-2.0
"""Whoever is killed in the middle of it leaves nothing in the kernel and nothing in the way."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.silence import Moment
from eunomia_agent.state import Desired, JobTotals, Store
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
EUNOMIA = Path(sys.executable).with_name("eunomia")
A = Callable[..., Any]


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def totals(found: JobTotals) -> Totals:
    return sum(found.trackers.values(), Totals())


def pinned() -> list[str]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    places = [Path(place) for _, place, kind, *_ in mounts if kind == "bpf"]
    return sorted(str(path) for place in places for path in place.rglob("*"))


@pytest.mark.parametrize("name", ["container", "files", "opensnoop"])
def test_a_command_that_is_killed_leaves_nothing_and_the_next_one_works(
    start_service: A, inside: A, loads: Any, tmp_path: Path, name: str
) -> None:
    before = pinned()
    command = start_service(EUNOMIA, "run", name, "-o", tmp_path)
    flood = loads.start("opens", 10**9, "/none/")
    loads.go(flood)
    time.sleep(0.3)
    found = inside(command.pid)
    assert all(found.ids.values())
    assert children(command.pid) == []
    command.send_signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL

    assert found.left() == {}
    assert pinned() == before
    flood.kill()
    again = subprocess.run(
        [EUNOMIA, "run", name, "-o", tmp_path, "-T", "0.5"],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"[\d,]+ events?, .* complete", again.stderr.splitlines()[-1])


def test_an_agent_that_is_killed_leaves_nothing_and_the_next_one_counts_on(
    agent: A, inside: A, job: A, loads: Any, tmp_path: Path
) -> None:
    wanted = job(outputs=["file"])
    state = agent_pb2.DesiredState(generation=1, jobs=[wanted])
    store = Store(tmp_path)
    store.save_desired(Desired(state, "uid", Moment.now()))

    def until(seen: Callable[[Totals], bool]) -> Totals:
        deadline = time.monotonic() + 30
        while not seen(total := totals(store.load_totals().get("a", JobTotals()))):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        return total

    first = agent()
    loads.run("opens", 1000, "/none/a-")
    before = until(lambda total: total.delivered >= 1000)
    flood = loads.start("rate", 10**9, "/none/a-", 2000)
    loads.go(flood)
    time.sleep(0.5)
    found = inside(first.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    flood.kill()
    assert found.left() == {}
    kept = totals(store.load_totals()["a"])
    assert kept.matched >= before.matched

    second = agent()
    loads.run("opens", 1000, "/none/a-again-")
    after = until(lambda total: total.delivered >= kept.delivered + 1000)
    assert after.matched == after.settled == kept.matched + 1000
    assert store.load_totals()["a"].gaps == 1
    found = inside(second.pid)
    second.terminate()
    assert second.wait(timeout=20) == 0
    assert found.left() == {}
    (file,) = (tmp_path / "jobs").rglob("*.jsonl")
    again = [row for row in file.read_text().splitlines() if "/none/a-again-" in row]
    assert len(again) == 1000
    assert "Traceback" not in (tmp_path / "log").read_text()
