# SPDX-License-Identifier: Apache-2.0
"""The same load, made by more and more containers: cgroups with a process each."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from bench.bench import Bench, Mode
from bench.errors import BenchError
from bench.generator import finished
from dev.progress import say

RATE = 20_000
"""Opens a second, of all containers together."""


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of one collector. cpu: its seconds."""

    made: int
    delivered: int
    cpu: float
    resident_mib: float


@dataclass(slots=True)
class Density:
    """Runs, by number of containers and mode."""

    runs: dict[tuple[int, str], list[Run]]

    def plain(self) -> list[dict[str, object]]:
        """Return one row a number and mode, medians, as JSON takes it."""
        return [
            {
                "containers": containers,
                "collector": name,
                "delivered": median(run.delivered / run.made for run in runs),
                "cpu_ns": median(run.cpu / max(run.delivered, 1) * 1e9 for run in runs),
                "resident_mib": max(run.resident_mib for run in runs),
            }
            for (containers, name), runs in self.runs.items()
        ]


def measure(bench: Bench) -> Density:
    """Let each collector have its turn with each number of containers."""
    told = Density(defaultdict(list))
    modes = [mode for mode in bench.modes("opens") if mode.mode == "rows"]
    for number, turn in bench.turns(modes, bench.plan.rounds["density"]):
        for containers in bench.plan.containers:
            say(f"  {containers} containers, round {number + 1}")
            for mode in turn:
                if mode.failure in bench.failures:
                    continue
                try:
                    told.runs[containers, mode.name].append(_run(bench, mode, containers))
                except BenchError as error:
                    bench.failed(mode, error)
    return told


def _run(bench: Bench, mode: Mode, containers: int) -> Run:
    cgroups = [bench.traced.child(f"container-{number}") for number in range(containers)]
    marker = f"density-{containers}-"
    try:
        with bench.running(mode, marker, bench.probe("opens")) as collector:
            before = bench.tracing.cpu_seconds()
            running = [
                bench.generator.start(
                    cgroup,
                    "opens",
                    bench.what("opens", marker),
                    seconds=bench.plan.seconds,
                    rate=RATE // containers,
                )
                for cgroup in cgroups
            ]
            made = sum(finished(process).done for process in running)
            collector.settle()
            cpu = bench.tracing.cpu_seconds() - before
            resident = bench.tracing.resident_mib()
            collector.stop()
            return Run(made, collector.delivered(), cpu, resident)
    finally:
        for cgroup in cgroups:
            cgroup.remove()
