# SPDX-License-Identifier: Apache-2.0
"""What it costs to make rows of events, and to write them, with nothing else in the way."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.figure import Figure, Goal
from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import event_layout
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.sinks.file import FileSink
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.catalogue import OBJECTS

BATCH = 10_000
"""Events: what the reader of a busy ring reads at once."""
BATCHES = 50
RUNS = 5
PATH = b"/usr/lib/x86_64-linux-gnu/libc.so.6"
CONTAINERS = (1, 50)


def measure() -> list[Figure]:
    """Render opens, and write them for one container and for many."""
    rendered = [_cost(lambda batch: _rows(batch, 0).json(), 1) for _ in range(RUNS)]
    size = len(_rows(_opens(1), 0).json().data) / BATCH
    return [
        Figure("a row as JSON: CPU", "ns", rendered, note=f"an open, {size:.0f} bytes"),
        *(_written(containers) for containers in CONTAINERS),
    ]


def _written(containers: int) -> Figure:
    def write(batch: Batch) -> None:
        for number, part in batch.split("cgroup_id"):
            sink.write(_rows(part, number))

    costs: list[float] = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder:
            sink = FileSink(Path(folder), "bench/rows")
            costs.append(_cost(write, containers))
            sink.close()
    name = f"a row as JSON in a file, {containers} container{'s' * (containers > 1)}: CPU"
    return Figure(name, "ns", costs, Goal("<", 1000))


def _cost(handle: Callable[[Batch], object], containers: int) -> float:
    """Return the CPU nanoseconds that a row costs."""
    batch = _opens(containers)
    handle(batch)
    began = time.process_time_ns()
    for _ in range(BATCHES):
        handle(batch)
    return (time.process_time_ns() - began) / (BATCHES * BATCH)


def _rows(batch: Batch, number: int) -> Rows:
    owner = Owner(number, "container", "bench", f"pod-{number}", "uid", "main", f"{number:064x}")
    return Rows(batch, owner, "opensnoop", node="bench")


def _opens(containers: int) -> Batch:
    layout = event_layout(Btf.of_object((OBJECTS / "opensnoop.bpf.o").read_bytes()))
    fixed = np.zeros(BATCH, layout.dtype)
    fixed["time"] = np.arange(BATCH) * 2000
    fixed["cgroup_id"] = np.arange(BATCH) % containers
    fixed["comm"], fixed["pid"], fixed["tid"] = b"nginx", 41234, 41235
    fixed["fd"], fixed["flags"] = 17, 0o2000000
    fixed["path"] = len(PATH) << 16 | layout.size
    return Batch(layout, fixed, PATH * BATCH, np.arange(BATCH, dtype=np.uint64) * len(PATH))
