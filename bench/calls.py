# SPDX-License-Identifier: Apache-2.0
"""What one system call costs a process: alone, traced, and beside what is traced."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.bench import Bench, Mode
from bench.cgroup import Cgroup
from bench.errors import BenchError
from bench.generator import Form
from dev.progress import say

Side = Literal["bare", "filtered in", "filtered out"]
CALLS: dict[Form, int] = {"opens": 1, "getpid": 10}
"""Of each, how many times more than the plan says, as they are so much faster."""


@dataclass(slots=True)
class Calls:
    """CPU time of one operation in ns, by call, mode and side; the least of a turn's bursts.

    Whoever disturbs a burst makes it longer, never shorter.
    """

    taken: dict[tuple[Form, str, Side], list[float]]

    def plain(self) -> list[dict[str, object]]:
        """Return one row a call, mode and side, medians of rounds, as JSON takes it."""
        return [
            {
                "call": form,
                "collector": name,
                "side": side,
                "ns": median(values),
                "ns_least": min(values),
                "ns_most": max(values),
            }
            for (form, name, side), values in self.taken.items()
        ]


def measure(bench: Bench) -> Calls:
    """Let a generator make bursts, in the traced cgroup and in one beside it.

    A burst fits into the ring of any collector here but those that lose it by their own design.
    """
    told = Calls(defaultdict(list))
    modes = [
        *(mode for mode in bench.modes("opens") if mode.mode == "rows"),
        *(mode for mode in bench.modes("calls") if mode.mode == "counts"),
    ]
    beside = Cgroup(bench.traced.path.parent).child("beside")
    sides: dict[Side, Cgroup] = {"filtered in": bench.traced, "filtered out": beside}
    for number, turn in bench.turns(modes, bench.plan.rounds["calls"]):
        say(f"  single calls, round {number + 1}")
        for mode in turn:
            for form in CALLS:
                told.taken[form, "none", "bare"].append(_least(bench, form, bench.traced))
            try:
                with bench.running(mode, "call", bench.probe("opens")) as collector:
                    for form in CALLS:
                        for side, cgroup in sides.items():
                            ns = _least(bench, form, cgroup)
                            told.taken[form, named(mode), side].append(ns)
                    collector.stop()
            except BenchError as error:
                bench.failed(mode, error)
    return told


def named(mode: Mode) -> str:
    """Return a mode's name with its workload: both kinds are in one table."""
    return f"{mode.collector.name}, {mode.workload} as {mode.mode}"


def _least(bench: Bench, form: Form, cgroup: Cgroup) -> float:
    count = bench.plan.calls * CALLS[form]
    what = bench.what(form, "call")
    return min(
        bench.generator.run(cgroup, form, what, count=count).ns_each
        for _ in range(bench.plan.bursts)
    )
