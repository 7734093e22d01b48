# SPDX-License-Identifier: Apache-2.0
"""One job's load does not delay another's rows, and nothing turns a process's events around."""

import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.trackers.accounting import Totals

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
A = Callable[..., Any]


def test_a_quiet_job_beside_a_busy_one_gets_its_rows_at_once(
    machine: A, job: A, loads: Any, pace: A, tmp_path: Path
) -> None:
    from eunomia_agent.sinks.file import FileSink

    quiet = Kept()
    sinks = {"busy": FileSink(tmp_path, "busy"), "quiet": quiet}
    running = machine(job("busy"), job("quiet"), sinks=lambda job: [sinks[job.uid]])
    flood = [loads.start("opens", 10**9, f"/none/busy-{name}-") for name in "xy"]
    few = loads.start("rate", 60, "/none/quiet-", 10)
    loads.go(*flood, few)
    busy = pace(flood[0])
    assert few.wait(timeout=60) == 0
    running.wait(lambda: len(quiet.rows()) == 60)
    busy.end()
    for process in flood:
        assert process.poll() is None, "the other job was busy all the time"
        process.kill()
        process.wait()
    end = running.end()

    assert end.totals["quiet"].trackers["opensnoop"] == Totals(matched=60, delivered=60)
    late = [busy.between(happened, at) for at, happened, _ in quiet.rows()]
    assert [path for _, _, path in quiet.rows()] == [f"/none/quiet-{i}" for i in range(60)]
    assert statistics.median(late) < 0.15, late
    assert max(late) < 1, late
    busy = end.totals["busy"].trackers["opensnoop"]
    assert busy.matched == busy.settled > 500_000


class Kept:
    """Rows, each with the time at which it came."""

    name = "kept"
    limited = 0
    problem = None

    def __init__(self) -> None:
        self.blocks: list[tuple[float, bytes]] = []

    def write(self, rows: Any) -> int:
        self.blocks.append((time.time(), bytes(rows.json().data)))
        return len(rows)

    def close(self) -> None:
        """Nothing is open."""

    def rows(self) -> list[tuple[float, float, str]]:
        """When each came, when it happened, its path."""
        return [
            (at, datetime.fromisoformat(row["time"][:26] + "+00:00").timestamp(), row["path"])
            for at, block in self.blocks
            for row in map(json.loads, block.splitlines())
        ]


def test_the_order_within_a_process_is_kept_wherever_it_runs(
    machine: A, job: A, loads: Any
) -> None:
    kept = Kept()
    running = machine(job(memory=32 << 20), sinks=lambda _: [kept])
    each = 100_000
    hopping = [loads.start("hops", each, f"/none/a-{name}-") for name in "wxyz"]
    loads.go(*hopping)
    assert [process.wait() for process in hopping] == [0] * 4
    end = running.end()

    found = end.totals["a"].trackers["opensnoop"]
    assert found.matched == 4 * each == found.delivered + found.lost_kernel
    numbers = defaultdict[str, list[int]](list)
    for _, _, path in kept.rows():
        head, _, number = path.rpartition("-")
        numbers[head].append(int(number))
    assert len(kept.blocks) > 10
    for head, seen in numbers.items():
        assert seen == sorted(set(seen)), head
    assert sum(map(len, numbers.values())) == found.delivered
