# SPDX-License-Identifier: Apache-2.0
"""A ring of one page, and two processes that open files as fast as they can."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.sinks.file import FileSink

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
EUNOMIA = Path(sys.executable).with_name("eunomia")
EACH = 300_000


def in_order(paths: list[str]) -> bool:
    """Whether the numbers of each process only go up."""
    numbers = defaultdict[str, list[int]](list)
    for path in paths:
        head, _, number = path.rpartition("-")
        numbers[head].append(int(number))
    return all(each == sorted(set(each)) for each in numbers.values())


def test_with_the_least_ring_every_event_is_in_a_file_or_told_as_lost(
    machine: Callable[..., Any], job: Callable[..., Any], loads: Any, tmp_path: Path
) -> None:
    running = machine(job(memory=1), sinks=lambda job: [FileSink(tmp_path, job.uid)])
    (instance,) = running.standing.instances
    both = [loads.start("opens", EACH, f"/none/a-{name}-") for name in "xy"]
    loads.go(*both)
    assert [process.wait() for process in both] == [0, 0]
    total = running.end()

    (file,) = tmp_path.rglob("*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    (found,) = total.totals["a"].trackers.values()
    assert found.matched == 2 * EACH == found.delivered + found.lost_kernel
    assert found.delivered == len(rows) > 0
    assert found.lost_kernel > EACH, "a page of ring cannot hold such a load"
    assert in_order([row["path"] for row in rows])
    assert instance.memory_bytes < 2 << 20


def test_the_last_line_of_the_command_tells_the_loss_exactly(loads: Any, tmp_path: Path) -> None:
    command = subprocess.Popen(
        [EUNOMIA, "run", "opensnoop", "--buffer", "1", "--prefix", "/none/a-", "-o", tmp_path],
        stderr=subprocess.PIPE,
    )
    assert command.stderr is not None
    first = loads.start("rate", 10**6, "/none/a-up-", 100)
    both = [loads.start("opens", 50_000, f"/none/a-{name}-") for name in "xy"]
    try:
        loads.go(first)
        while not any(tmp_path.glob("*.jsonl")):
            assert command.poll() is None
            time.sleep(0.05)
        first.kill()
        command.send_signal(signal.SIGSTOP)  # as on a node that has no time for it
        loads.go(*both)
        assert [process.wait() for process in both] == [0, 0]
        command.send_signal(signal.SIGCONT)
    finally:
        command.terminate()
        told = command.stderr.read().decode()
    assert command.wait() == 0

    files = sorted(tmp_path.iterdir(), reverse=True)
    paths = [json.loads(row)["path"] for file in files for row in file.read_text().splitlines()]
    flood = [path for path in paths if "/a-up-" not in path]
    last = told.splitlines()[-1].replace(",", "")
    found = re.fullmatch(r"(\d+) events (\d+) lost 0 limited: (\d+) % complete", last)
    assert found, told
    matched, lost, percent = (int(number) for number in found.groups())
    assert matched == len(paths) + lost
    assert len(flood) + lost == 100_000
    assert lost > 50_000
    assert percent == len(paths) * 100 // matched
    assert in_order(paths)
