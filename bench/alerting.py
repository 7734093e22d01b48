# SPDX-License-Identifier: Apache-2.0
"""From the end of a call to the line on standard output that tells of it."""

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cgroup import Cgroup
from bench.daemon import daemon
from bench.figure import Figure, Goal

PATIENCE_SECONDS = 5.0
LEAST_PAUSE, MOST_PAUSE = 0.2, 0.3
"""Seconds: below the rate of alerts, and out of step with the agent's own rhythm."""
MILLION = 1e6


def measure(cgroup: Cgroup, folder: Path, groups: Sequence[str], deeds: int) -> list[Figure]:
    """Open a watched file again and again, and wait for the alert of each."""
    random.seed(1)
    taken: list[float] = []
    missed = 0
    with daemon(cgroup, folder, groups) as running:
        for _ in range(deeds):
            time.sleep(random.uniform(LEAST_PAUSE, MOST_PAUSE))
            began = running.open_watched()
            arrived = running.alert(PATIENCE_SECONDS)
            if arrived is None:
                missed += 1
            else:
                taken.append((arrived - began) / MILLION)
        running.end()
    note = f"an open of a watched file; {missed} of {deeds} alerts did not come"
    return [
        Figure("event to alert: median", "ms", taken, Goal("<", 50), note=note),
        Figure("event to alert: 99th percentile", "ms", [percentile(taken, 99)] if taken else []),
    ]


def percentile(values: Sequence[float], number: int) -> float:
    """Return a percentile of values, of which there is one at least."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[number - 1]
