# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, and a reader that is gone, under one of two jobs."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.sinks.file import FileSink
from eunomia_agent.sinks.log import LineWriter, LogSink
from eunomia_agent.trackers.accounting import Totals

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
SOME = 20_000
A = Callable[..., Any]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def rows(folder: Path) -> list[str]:
    """Paths in all files of a folder; each line of them must be whole."""
    files = sorted(folder.rglob("*.jsonl"))
    return [json.loads(line)["path"] for file in files for line in file.read_text().splitlines()]


def test_a_full_disk_costs_one_job_its_rows_until_there_is_room_again(
    machine: A, job: A, loads: Any, small_disk: Path, tmp_path: Path
) -> None:
    places = {"a": small_disk, "b": tmp_path / "large"}
    running = machine(job("a"), job("b"), sinks=lambda job: [FileSink(places[job.uid], job.uid)])

    for uid in "ab":
        loads.run("opens", SOME, f"/none/{uid}-")
    running.wait(lambda: running.total("b") == Totals(matched=SOME, delivered=SOME))
    running.wait(lambda: running.total("a").matched == SOME == running.total("a").settled)
    degraded = running.standing.reports["a"].degraded
    assert degraded.startswith("file: ")
    assert degraded.endswith("No space left on device")
    assert running.standing.reports["b"].degraded == ""
    first = running.total("a")
    assert first.lost_agent == SOME - first.delivered
    kept = rows(small_disk)
    assert kept == [f"/none/a-{number}" for number in range(first.delivered)]

    again = [loads.start("opens", 1000, f"/none/{uid}-again-") for uid in "ab"]
    for file in small_disk.rglob("*.jsonl"):
        file.unlink()
    loads.go(*again)
    running.wait(lambda: running.total("a").delivered == first.delivered + 1000)
    assert running.standing.reports["a"].degraded == ""
    running.wait(lambda: running.total("b") == Totals(matched=SOME + 1000, delivered=SOME + 1000))
    last = running.end().totals["a"].trackers["opensnoop"]
    assert last == Totals(
        matched=SOME + 1000, delivered=first.delivered + 1000, lost_agent=first.lost_agent
    )
    assert rows(small_disk) == [f"/none/a-again-{number}" for number in range(1000)]
    assert len(rows(places["b"])) == SOME + 1000


def test_a_reader_that_is_gone_costs_the_job_that_it_read(
    machine: A, job: A, loads: Any, tmp_path: Path
) -> None:
    reader, pipe = os.pipe()
    sinks = {"a": LogSink(LineWriter(pipe), "a"), "b": FileSink(tmp_path, "b")}
    running = machine(job("a"), job("b"), sinks=lambda job: [sinks[job.uid]])

    def both(count: int) -> None:
        before = running.total("a").matched
        for uid in "ab":
            loads.run("opens", count, f"/none/{uid}-{before}-")
        running.wait(lambda: running.total("a").settled == before + count)

    both(50)
    assert running.total("a") == Totals(matched=50, delivered=50)
    os.close(reader)
    both(50)
    assert running.total("a") == Totals(matched=100, delivered=50, lost_agent=50)
    assert running.standing.reports["a"].degraded == "log: standard output: its reader is gone"
    both(SOME)
    end = running.end()
    os.close(pipe)

    last = end.totals["a"].trackers["opensnoop"]
    assert last.matched == last.settled == SOME + 100
    assert last.delivered == 50
    complete = Totals(matched=SOME + 100, delivered=SOME + 100)
    assert end.totals["b"].trackers["opensnoop"] == complete
    assert len(rows(tmp_path)) == SOME + 100
