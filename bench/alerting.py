# SPDX-License-Identifier: Apache-2.0
"""From the end of a call to the line on standard output that tells of it."""

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cgroup import Cgroup
from bench.daemon import Daemon, Rule, daemon
from bench.figure import Figure, Goal
from bench.generator import Generator

PATIENCE_SECONDS = 5.0
LEAST_PAUSE, MOST_PAUSE = 0.2, 0.3
"""Seconds: below the rate of alerts, and out of step with the agent's own rhythm."""
RATE = 1000
"""Opens a second that the kernel lets pass and no rule tells of."""
BESIDE_SECONDS = 180.0
"""At most: it is ended before."""
MILLION = 1e6


def measure(
    load: Generator, loaded: Cgroup, agent: Cgroup, groups: Sequence[str], deeds: int
) -> list[Figure]:
    """Open a watched file again and again, and wait for the alert of each.

    First with nothing else to be judged, then beside rows that come without a pause.
    """
    random.seed(1)
    with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as name:
        folder = Path(name)
        other = folder / "other"
        other.touch()
        asked = Rule("asked", "access", f'path == "{other}" && comm.contains("no-such-name")')
        with daemon(agent, folder, groups) as running:
            alone = _deeds(running, deeds)
            running.end()
        with daemon(agent, folder, groups, [asked]) as running:
            beside = load.start(loaded, "opens", str(other), seconds=BESIDE_SECONDS, rate=RATE)
            try:
                crowded = _deeds(running, deeds)
            finally:
                beside.kill()
                beside.communicate()
            running.end()
    return [
        *_figures("event to alert", alone),
        *_figures(f"the same, beside {RATE:,} rows a second", crowded),
    ]


def _deeds(running: Daemon, deeds: int) -> list[float | None]:
    """Return the milliseconds until each alert; None: it did not come."""
    taken: list[float | None] = []
    for _ in range(deeds):
        time.sleep(random.uniform(LEAST_PAUSE, MOST_PAUSE))
        began = running.open_watched()
        arrived = running.alert(PATIENCE_SECONDS)
        taken.append(None if arrived is None else (arrived - began) / MILLION)
    return taken


def _figures(name: str, taken: Sequence[float | None]) -> list[Figure]:
    came = [each for each in taken if each is not None]
    note = f"{len(taken) - len(came)} of {len(taken)} alerts did not come"
    last = [percentile(came, 99)] if came else []
    return [
        Figure(f"{name}: median", "ms", came, Goal("<", 50), note=note),
        Figure(f"{name}: 99th percentile", "ms", last),
    ]


def percentile(values: Sequence[float], number: int) -> float:
    """Return a percentile of values, of which there is one at least."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[number - 1]
