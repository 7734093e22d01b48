# SPDX-License-Identifier: Apache-2.0
"""Agent and operator at rest, on the local cluster with one job that has nothing to see.

Whoever makes or removes a cgroup on the node wakes the agent: a stretch of time in which that
happened is no rest, and is measured again.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench import process
from bench.cluster import Cluster
from bench.errors import BenchError
from bench.figure import Figure, Goal
from eunomia_agent.containers.hierarchy import find_root
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.catalogue import OBJECTS

SETTLE_SECONDS = 8.0
STRETCHES = 3
STRETCH_SECONDS = 10.0
MOST_STRETCHES = 12
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
    pids = {"agent": cluster.agent(), "operator": cluster.leader()}
    time.sleep(SETTLE_SECONDS)
    used: dict[str, list[float]] = {name: [] for name in pids}
    resident: dict[str, list[float]] = {name: [] for name in pids}
    restless = 0
    with _cgroup_records() as records:
        while len(used["agent"]) < STRETCHES and restless <= MOST_STRETCHES - STRETCHES:
            records.drain()
            before = {name: process.cpu_seconds(pid, root) for name, pid in pids.items()}
            began = time.monotonic()
            time.sleep(STRETCH_SECONDS)
            passed = time.monotonic() - began
            spent = {
                name: process.cpu_seconds(pid, root) - before[name] for name, pid in pids.items()
            }
            if len(records.drain()):
                restless += 1
                continue
            for name, pid in pids.items():
                used[name].append(spent[name] / passed * 100)
                resident[name].append(process.resident_mib(pid))
    cluster.kubectl("-n", cluster.namespace, "delete", "tracejob", JOB)
    note = f"{STRETCH_SECONDS:.0f} s each, with the kubelet's probes"
    if restless:
        note += f"; {restless} left out: cgroups came or went"
    return [
        Figure(
            "agent at rest: resident memory",
            "MiB",
            resident["agent"],
            Goal("≤", 80),
            note="one job, two trackers; the rings of both count twice, as they are mapped",
        ),
        Figure("agent at rest: CPU", "% of a core", used["agent"], Goal("≤", 0.2), note=note),
        Figure("operator at rest: resident memory", "MiB", resident["operator"], Goal("≤", 150)),
        Figure("operator at rest: CPU", "% of a core", used["operator"], note="the leader's"),
    ]


@contextmanager
def _cgroup_records() -> Generator[Drain]:
    """Watch cgroups come and go, as the agent does."""
    with Object.open(OBJECTS / "cgroups.bpf.o") as programs:
        programs.load()
        programs.attach()
        ring = programs.map("cgroup_events")
        with Drain(ring, event_layout(programs.btf, ring.name)) as records:
            yield records
