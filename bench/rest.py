# SPDX-License-Identifier: Apache-2.0
"""Agent and operator at rest, on the local cluster with one job that has nothing to see."""

import time
from pathlib import Path

from bench import process
from bench.cluster import Cluster
from bench.errors import BenchError
from bench.figure import Figure, Goal
from eunomia_agent.containers.hierarchy import find_root

SETTLE_SECONDS = 8.0
STRETCHES = 3
STRETCH_SECONDS = 10.0
JOB = "rest"


def measure(cluster: Cluster) -> list[Figure]:
    """Run a job on a sleeping pod, and look at the processes for half a minute."""
    root = find_root(Path("/proc/self/mountinfo").read_text())
    if root is None:
        raise BenchError("no cgroup v2 tree is mounted, which would tell the CPU time")
    cluster.pod("asleep", "sleep", "600")
    manifest = cluster.job(JOB, "asleep", "process", "opensnoop")
    cluster.kubectl("apply", "-f", "-", text=manifest)
    job = f"tracejob/{JOB}"
    cluster.kubectl(
        "-n", cluster.namespace, "wait", "--for=condition=Running", "--timeout=60s", job
    )
    agent, operator = cluster.agent(), cluster.leader()
    time.sleep(SETTLE_SECONDS)
    made = _cgroups(root)
    used: dict[int, list[float]] = {agent: [], operator: []}
    resident: dict[int, list[float]] = {agent: [], operator: []}
    for _ in range(STRETCHES):
        before = {pid: process.cpu_seconds(pid, root) for pid in used}
        began = time.monotonic()
        time.sleep(STRETCH_SECONDS)
        passed = time.monotonic() - began
        for pid, seconds in before.items():
            used[pid].append((process.cpu_seconds(pid, root) - seconds) / passed * 100)
            resident[pid].append(process.resident_mib(pid))
    strangers = len(_cgroups(root) - made)
    cluster.kubectl("-n", cluster.namespace, "delete", "tracejob", JOB)
    others = f"; {strangers} cgroups were made meanwhile by others" if strangers else ""
    return [
        Figure(
            "agent at rest: resident memory",
            "MiB",
            resident[agent],
            Goal("≤", 80),
            note="one job, two trackers; their rings count, twice",
        ),
        Figure(
            "agent at rest: CPU",
            "% of a core",
            used[agent],
            Goal("≤", 0.2),
            note=f"{STRETCHES} times {STRETCH_SECONDS:.0f} s, with the kubelet's probes{others}",
        ),
        Figure("operator at rest: resident memory", "MiB", resident[operator], Goal("≤", 150)),
        Figure("operator at rest: CPU", "% of a core", used[operator], note="the one that leads"),
    ]


def _cgroups(root: Path) -> set[int]:
    return {folder.stat().st_ino for folder in root.glob("**/") if folder.exists()}
