# SPDX-License-Identifier: Apache-2.0
"""Events at given rates, and flat out: how many arrive, and at what cost."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from bench.bench import Bench, Mode
from bench.errors import BenchError
from bench.generator import Form, Work
from bench.plan import FLAT_OUT
from dev.progress import say

FORMS: tuple[Form, ...] = ("opens", "execs", "connects")
BOTH_CORES = 200_000
"""A rate from which on two generators make the events."""
SATURATED = 0.8
"""Rates that this share of is not reached by generators alone are left out but for one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of one collector. cpu: seconds of the collector; work: of the generators."""

    work: Work
    delivered: int
    told_lost: int
    cpu: float
    resident_mib: float

    @property
    def lost(self) -> int:
        """How many events did not arrive."""
        return max(0, self.work.done - self.delivered)


Key = tuple[Form, int]


@dataclass(slots=True)
class Delivery:
    """All runs, by form and rate, then by mode; bare: the generators alone."""

    runs: dict[Key, dict[str, list[Run]]]
    bare: dict[Key, list[Work]]

    def plain(self) -> list[dict[str, object]]:
        """Return one row a form, rate and mode, medians, as JSON takes it."""
        return [
            {
                "form": form,
                "rate": rate,
                "collector": name,
                **summary(runs, self.bare[form, rate]),
            }
            for (form, rate), modes in self.runs.items()
            for name, runs in modes.items()
        ]


def summary(runs: list[Run], bare: list[Work]) -> Mapping[str, float]:
    """Return the medians of runs. Shares are of 1, times in ns an event, sizes in MiB."""
    shares = [run.delivered / run.work.done for run in runs]
    lost = sum(run.lost for run in runs)
    return {
        "made_a_second": median(run.work.done / run.work.seconds for run in runs),
        "delivered_a_second": median(run.delivered / run.work.seconds for run in runs),
        "delivered": median(shares),
        "delivered_least": min(shares),
        "lost": lost,
        "told": sum(run.told_lost for run in runs),
        "cpu_ns": median(run.cpu / max(run.delivered, 1) * 1e9 for run in runs),
        "operation_ns": median(run.work.ns_each for run in runs),
        "bare_ns": median(work.ns_each for work in bare),
        "resident_mib": max(run.resident_mib for run in runs),
    }


def measure(bench: Bench) -> Delivery:
    """Let each collector have its turn at each rate, again and again."""
    delivery = Delivery(runs=defaultdict(lambda: defaultdict(list)), bare=defaultdict(list))
    for form in FORMS:
        for rate, rounds in bench.plan.rates[form].items():
            for number, turn in bench.turns(bench.modes(form), rounds):
                say(f"  {form}, {rate or 'flat out'}, round {number + 1}")
                delivery.bare[form, rate].append(_load(bench, form, "bare", rate))
                for mode in turn:
                    try:
                        run = _run(bench, mode, form, rate)
                    except BenchError as error:
                        bench.failed(mode, error)
                    else:
                        delivery.runs[form, rate][mode.name].append(run)
    return delivery


def _load(bench: Bench, form: Form, marker: str, rate: int) -> Work:
    processes = 2 if rate == FLAT_OUT or rate >= BOTH_CORES else 1
    return bench.generator.run(
        bench.traced,
        form,
        bench.what(form, marker),
        seconds=bench.plan.seconds,
        rate=rate,
        processes=processes,
    )


def _run(bench: Bench, mode: Mode, form: Form, rate: int) -> Run:
    marker = f"event-{rate}"
    with bench.running(mode, marker, bench.probe(form)) as collector:
        before = bench.tracing.cpu_seconds()
        work = _load(bench, form, marker, rate)
        collector.settle()
        cpu = bench.tracing.cpu_seconds() - before
        resident = bench.tracing.resident_mib()
        collector.stop()
        return Run(work, collector.delivered(), collector.told_lost(), cpu, resident)
