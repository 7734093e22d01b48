# SPDX-License-Identifier: Apache-2.0
"""What it costs the agent to read events, and to read them and write rows.

Two generators make opens as fast as they can, on a machine that may have no more cores than that:
the figures are of kernel, generators and agent sharing them.
"""

import os
import select
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.figure import Figure, Goal
from bench.load import GENERATORS, PREFIX, Load, load
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.targets import Targets
from eunomia_agent.kernel.object import Object
from eunomia_agent.keys import Keys
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.node import Sinks
from eunomia_agent.tracing import Tracing
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.limit import Limit
from eunomia_agent.trackers.loading import Node
from eunomia_agent.trackers.pool import Pool
from eunomia_api import agent_pb2

RUNS = 3
OPENS = 1_000_000
"""By each generator, when nothing is written."""
OPENS_WRITTEN = 500_000
"""By each generator, when rows are."""
BUDGET_BYTES = 8 << 20
"""The default of a job: half of it is the ring, half the reader's buffer."""
RING_BYTES = BUDGET_BYTES // 2
SLOT = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to. seconds: until all was read; cpu: of this process."""

    made: int
    read: int
    lost: int
    seconds: float
    cpu: float


def measure() -> list[Figure]:
    """Read what two generators make, without and with rows."""
    with load() as source, Object.open(OBJECTS / "cgroups.bpf.o") as programs:
        programs.load()
        targets = Targets(
            *(programs.map(name) for name in ("targets", "pending_limit", "pending_count"))
        )
        read = [_read(source, programs, targets) for _ in range(RUNS)]
        written = [_write(source, programs, targets) for _ in range(RUNS)]
    ring = f"ring of {RING_BYTES >> 20} MiB, nice {os.nice(0)}, {os.cpu_count()} cores"
    return [
        *_figures("drain", read, Goal("≤", 120), None, ring),
        *_figures("JSON rows to a file", written, Goal("≤", 2000), Goal("≥", 260_000), ring),
    ]


def _figures(name: str, runs: list[Run], cpu: Goal, rate: Goal | None, note: str) -> list[Figure]:
    made = sum(run.made for run in runs)
    return [
        Figure(f"{name}: CPU an event", "ns", [run.cpu / run.read * 1e9 for run in runs], cpu),
        Figure(
            f"{name}: events read",
            "a second",
            [run.read / run.seconds for run in runs],
            rate,
            note=f"{GENERATORS} generators flat out; {note}",
        ),
        Figure(
            f"{name}: events lost",
            "%",
            [run.lost / run.made * 100 for run in runs],
            Goal("≤", 0),
            worst=True,
            note=f"of {made:,} made; made = read + lost, exactly",
        ),
    ]


def _read(source: Load, programs: Object, targets: Targets) -> Run:
    """Read batches and let them go."""
    catalogue = Catalogue.load()
    job = agent_pb2.Job(budget=agent_pb2.Budget(memory_bytes=2 * RING_BYTES))
    use = agent_pb2.Tracker(name="opensnoop", params={"prefix": agent_pb2.Param(text=PREFIX)})
    key = Keys(catalogue, OBJECTS).use(job, use).key
    tracker = catalogue.trackers["opensnoop"]
    instance = Instance.load(OBJECTS, tracker, key, Node(programs.map("targets")))
    try:
        instance.join(SLOT, Limit())
        targets.set(source.cgroup_id, 1 << SLOT, inherit=True)
        instance.attach()
        read = 0

        def drain() -> None:
            nonlocal read
            read += sum(len(rows) for rows in instance.drain())

        made, seconds, cpu = _follow(source, OPENS, instance, drain)
        account = instance.accounts.one(SLOT, source.cgroup_id)
        if account is None or account.matched != made or read + account.lost != made:
            raise BenchError(f"{made} opens were made, {read} read; the kernel says {account}")
        return Run(made, read, account.lost, seconds, cpu)
    finally:
        targets.delete(source.cgroup_id)
        instance.retire()()


def _write(source: Load, programs: Object, targets: Targets) -> Run:
    """Bring every event to a job with a file, as the agent does."""
    owner = Owner(source.cgroup_id, "container", "bench", "pod", "uid", "main", "0" * 64, {})
    job = agent_pb2.Job(
        uid="bench",
        namespace="bench",
        name="bench",
        target=agent_pb2.Target(pods=True, namespaces=["bench"]),
        trackers=[
            agent_pb2.Tracker(name="opensnoop", params={"prefix": agent_pb2.Param(text=PREFIX)})
        ],
        outputs=["file"],
        budget=agent_pb2.Budget(events_per_second=0, memory_bytes=BUDGET_BYTES),
    )
    with (
        tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder,
        _tracing(Path(folder), programs, targets) as tracing,
    ):
        tracing.apply([job], {}, time.time())
        tracing.meet(owner)
        (instance,) = tracing.tick().instances
        made, seconds, cpu = _follow(
            source, OPENS_WRITTEN, instance, lambda: tracing.drain(instance)
        )
        tracing.tick()
        totals = tracing.tick().totals["bench"].trackers["opensnoop"]
        tracing.gone(source.cgroup_id)
        tracing.tick()
    lost = totals.lost_kernel + totals.lost_agent
    if totals.matched != made or totals.delivered + lost != made:
        raise BenchError(f"{made} opens were made; the agent says {totals}")
    return Run(made, totals.delivered, lost, seconds, cpu)


@contextmanager
def _tracing(folder: Path, programs: Object, targets: Targets) -> Generator[Tracing]:
    catalogue = Catalogue.load()

    def open_instance(key: Key) -> Instance:
        return Instance.load(
            OBJECTS, catalogue.trackers[key.tracker], key, Node(programs.map("targets"))
        )

    tracing = Tracing(
        Pool(open_instance, 2 * BUDGET_BYTES),
        node="bench",
        use_of=Keys(catalogue, OBJECTS).use,
        open_sinks=Sinks(folder).open,
        observed=Observed(catalogue.trackers, "bench"),
    )
    tracing.open(targets)
    try:
        yield tracing
    finally:
        tracing.end()
        tracing.shut()


def _follow(
    source: Load, opens: int, instance: Instance, drain: Callable[[], None]
) -> tuple[int, float, float]:
    """Drain while the generators run, when the kernel says so, as the agent's loop does.

    Returns opens made, the seconds until all were read, and this process's CPU seconds.
    """
    waiting = select.poll()
    waiting.register(instance.fileno(), select.POLLIN)
    source.start(opens)
    began, cpu = time.monotonic(), time.process_time()
    while source.running():
        if waiting.poll(50):
            delay = instance.woken()
            if delay and waiting.poll(delay * 1000):
                instance.woken()
            drain()
    drain()
    seconds = time.monotonic() - began
    return source.made(), seconds, time.process_time() - cpu
