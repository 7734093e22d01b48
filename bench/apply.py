# SPDX-License-Identifier: Apache-2.0
"""From `kubectl apply` to the first event in the job's file, on the local cluster."""

import time
from pathlib import Path

from bench.cluster import STATE, Cluster
from bench.errors import BenchError
from bench.figure import Figure, Goal

RUNS = 9
RATE = 500
"""Opens a second of the traced pod: one comes every 2 ms, whenever the programs are attached."""
SECONDS = 300
"""After which the pod stops by itself."""
LOOK_SECONDS = 0.002
PATIENCE_SECONDS = 20.0


def measure(cluster: Cluster) -> list[Figure]:
    """Apply jobs, one after the other, and wait for the first row of each."""
    cluster.pod("busy", "opens", str(RATE * SECONDS), "/bench", str(RATE))
    _run(cluster, "warm-up")  # the agent may have to find the operator yet
    runs = [_run(cluster, f"first-{number}") for number in range(RUNS)]
    cluster.kubectl("-n", cluster.namespace, "delete", "pod", "busy", "--wait")
    return [
        Figure(
            "apply to first event in a file",
            "ms",
            [first * 1000 for _, first in runs],
            Goal("<", 500),
            note="from the start of kubectl; two trackers, one pod",
        ),
        Figure(
            "  of which until kubectl is done",
            "ms",
            [applied * 1000 for applied, _ in runs],
        ),
    ]


def _run(cluster: Cluster, name: str) -> tuple[float, float]:
    """Return the seconds until kubectl was done, and until the first row was in the file."""
    folder = STATE / "jobs" / cluster.namespace / name
    manifest = cluster.job(name, "busy", "process", "opensnoop")
    began = time.monotonic()
    cluster.kubectl("apply", "-f", "-", text=manifest)
    applied = time.monotonic() - began
    while not _has_row(folder):
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise BenchError(f"no event of {name} within {PATIENCE_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)
    first = time.monotonic() - began
    cluster.kubectl("-n", cluster.namespace, "delete", "tracejob", name)
    time.sleep(1.0)  # the trackers are gone, so that the next run loads them again
    return applied, first


def _has_row(folder: Path) -> bool:
    return any(file.stat().st_size for file in folder.glob("*.jsonl"))
