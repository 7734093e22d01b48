# SPDX-License-Identifier: Apache-2.0
"""From a collector's launch to its first event, and what it takes while nothing happens."""

import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from bench.bench import Bench, Mode
from bench.errors import BenchError
from dev.progress import say

RATE = 500
"""Opens a second while collectors start: one comes every 2 ms."""
PATIENCE_SECONDS = 15.0


@dataclass(slots=True)
class Launch:
    """Seconds to the first event; at rest, share of a core and resident MiB; by mode."""

    first: dict[str, list[float]]
    rest_share: dict[str, list[float]]
    rest_mib: dict[str, list[float]]

    def plain(self) -> list[dict[str, object]]:
        """Return one row a mode, medians, as JSON takes it."""
        return [
            {
                "collector": name,
                "first_s": median(self.first[name]) if self.first[name] else None,
                "first_least_s": min(self.first[name], default=None),
                "first_most_s": max(self.first[name], default=None),
                "rest_share": median(self.rest_share[name]) if self.rest_share[name] else None,
                "rest_mib": median(self.rest_mib[name]) if self.rest_mib[name] else None,
            }
            for name in {**self.first, **self.rest_mib}
        ]


def measure(bench: Bench) -> Launch:
    """Launch each collector again and again, then let each rest."""
    told = Launch(defaultdict(list), defaultdict(list), defaultdict(list))
    modes = [mode for mode in bench.modes("opens") if mode.mode == "rows"]
    for number in range(bench.plan.starts):
        say(f"  launch, {number + 1} of {bench.plan.starts}")
        for mode in modes:
            if mode.failure in bench.failures:
                continue
            try:
                told.first[mode.name].append(_first(bench, mode))
            except BenchError as error:
                bench.failed(mode, error)
    for mode in modes:
        if mode.failure in bench.failures:
            continue
        say(f"  at rest: {mode.name}")
        try:
            share, mib = _rest(bench, mode)
        except BenchError as error:
            bench.failed(mode, error)
        else:
            told.rest_share[mode.name].append(share)
            told.rest_mib[mode.name].append(mib)
    return told


def _first(bench: Bench, mode: Mode) -> float:
    """Launch on a terminal, as a user does: rows come line by line."""
    what = bench.what("opens", "first")
    load = bench.generator.start(bench.traced, "opens", what, seconds=PATIENCE_SECONDS, rate=RATE)
    try:
        return bench.first_row(mode, "first", PATIENCE_SECONDS)
    finally:
        load.kill()
        load.communicate()


def _rest(bench: Bench, mode: Mode) -> tuple[float, float]:
    with bench.running(mode, "rest", bench.probe("opens")):
        time.sleep(0.5)
        before, began = bench.tracing.cpu_seconds(), time.monotonic()
        time.sleep(bench.plan.rest_seconds)
        used = bench.tracing.cpu_seconds() - before
        return used / (time.monotonic() - began), bench.tracing.resident_mib()
