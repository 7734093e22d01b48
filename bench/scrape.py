# SPDX-License-Identifier: Apache-2.0
"""A scrape of 10,000 series from the agent's exporter, over HTTP on loopback."""

import time
import urllib.request
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric as Family

from bench.figure import Figure, Goal
from eunomia_agent.exporter import Accounts, Exporter
from eunomia_agent.metrics.observed import OWNER_LABELS, Observed

SERIES = 10_000
RUNS = 20


class _Series(Observed):
    """As many series as told, labelled like those of a tracker with one label of its own."""

    def collect(self) -> Iterable[Family]:
        """Give one counter with all series."""
        family = CounterMetricFamily(
            "eunomia_bench_opens", "Opens.", labels=(*OWNER_LABELS, "error")
        )
        for number in range(SERIES):
            labels = ("bench/job", "node", "default", f"pod-{number}", "main", f"{number:064x}", "")
            family.add_metric(labels, float(number))
        return (family,)


def measure() -> list[Figure]:
    """Scrape again and again."""
    exporter = Exporter(0, Accounts(), _Series({}, "bench"), lambda: True)
    times: list[float] = []
    try:
        for _ in range(RUNS):
            began = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics") as page:
                page.read()
            times.append((time.monotonic() - began) * 1000)
    finally:
        exporter.close()
    return [Figure(f"scrape of {SERIES:,} series", "ms", times, Goal("<", 50))]
