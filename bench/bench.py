# SPDX-License-Identifier: Apache-2.0
"""What every section needs: the generator, a cgroup, the collectors that can run here."""

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import generator
from bench.cgroup import Cgroup, cgroup
from bench.collector import Collector, Trial
from bench.errors import BenchError
from bench.generator import Form
from bench.peers import tracefs
from bench.plan import Plan
from bench.trial import PROBE, PROBE_PORT, Running, prepared
from dev.progress import say

PORT = 20_000
"""Of the listener, in a network namespace of the generator's own; another one for probes."""
STEP = 4
"""By how many places each round begins later: a collector's modes are neighbours."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A collector in one of its modes."""

    collector: Collector
    workload: str
    mode: str
    trial: Trial

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.collector.name}, {self.mode}"

    @property
    def failure(self) -> str:
        """Its name where it cannot be measured."""
        return f"{self.name} of {self.workload}"


@dataclass(slots=True)
class Bench:
    """What is shared by all sections. failures: why a mode could not be measured."""

    plan: Plan
    collectors: list[Collector]
    generator: generator.Generator
    traced: Cgroup
    tracing: Cgroup
    folder: Path
    failures: dict[str, str] = field(default_factory=dict)

    def modes(self, workload: str) -> list[Mode]:
        """Return all collectors in all their modes for a workload."""
        return [
            Mode(collector, workload, mode, trial)
            for collector in self.collectors
            for mode, trial in collector.trials.get(workload, {}).items()
        ]

    def what(self, form: Form, marker: str) -> str:
        """Return a generator's argument that makes its events known by the marker."""
        if form == "opens":
            path = self.folder / marker
            path.touch()
            return str(path)
        if form == "connects":
            return PROBE_PORT if marker == PROBE else str(PORT)
        return marker

    def turns(self, modes: list[Mode], rounds: int) -> Iterator[tuple[int, list[Mode]]]:
        """Give, for each round, the modes in another order; those that failed are left out."""
        for number in range(rounds):
            begin = number * STEP % len(modes) if modes else 0
            turn = modes[begin:] + modes[:begin]
            yield number, [mode for mode in turn if mode.failure not in self.failures]

    def probe(self, form: Form) -> Callable[[], None]:
        """Return what makes a few events that are not counted."""

        def probe() -> None:
            self.generator.run(self.traced, form, self.what(form, PROBE), count=200)

        return probe

    @contextmanager
    def running(
        self, mode: Mode, marker: str, probe: Callable[[], None], *, comm: str = "generator"
    ) -> Generator[Running]:
        """Run a collector for the block. Raises BenchError where it does not start."""
        with prepared(mode.trial, self._values(marker, comm), self.tracing) as lent:
            lent.start(mode.collector)
            lent.wait_ready(probe)
            yield lent

    def first_row(self, mode: Mode, marker: str, patience: float) -> float:
        """Run a collector on a terminal; return the seconds to its first row."""
        with prepared(mode.trial, self._values(marker, "generator"), self.tracing) as lent:
            return lent.first_row(mode.collector, patience)

    def _values(self, marker: str, comm: str) -> dict[str, str]:
        return {
            "marker": marker,
            "port": str(PORT),
            "probe_port": PROBE_PORT,
            "comm": comm,
            "cgroup": str(self.traced.path),
            "cgroup_ids": " ".join(str(each.id) for each in self.traced.tree()),
        }

    def failed(self, mode: Mode, error: BenchError) -> None:
        """Note that a mode cannot be measured here."""
        self.failures[mode.failure] = str(error)
        say(f"  {mode.failure}: {error}")


@contextmanager
def bench(plan: Plan, collectors: list[Collector]) -> Generator[Bench]:
    """Lend what the sections need, with those of the collectors that are installed."""
    tracefs()
    failures = {each.name: why for each in collectors if (why := each.missing())}
    with (
        generator.compiled() as program,
        cgroup() as own,
        tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder,
    ):
        yield Bench(
            plan=plan,
            collectors=[each for each in collectors if each.name not in failures],
            generator=program,
            traced=own.child("traced"),
            tracing=own.child("tracing"),
            folder=Path(folder),
            failures=failures,
        )


Section = Callable[[Bench], None]
