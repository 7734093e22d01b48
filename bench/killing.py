# SPDX-License-Identifier: Apache-2.0
"""From a forbidden call to the death of who made it, by a job that kills in the kernel."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.alerting import percentile
from bench.cgroup import Cgroup
from bench.dropped import Dropped
from bench.errors import BenchError
from bench.figure import Figure, Goal
from bench.program import compiled
from eunomia_agent.containers.hierarchy import find_root
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.targets import Targets
from eunomia_agent.jobs.keys import Keys
from eunomia_agent.jobs.tracing import Tracing
from eunomia_agent.kernel.object import Object
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.loading import Node
from eunomia_agent.trackers.pool import Pool
from eunomia_api import agent_pb2

MEMORY = 8 << 20
MILLION = 1e6
MOUNTS = Path("/proc/self/mountinfo")
NAMESPACE = "bench"


def measure(cgroup: Cgroup, count: int) -> list[Figure]:
    """Let children open what they must not, and others kill themselves."""
    with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder:
        program = compiled("victim.c", Path(folder))
        forbidden = Path(folder) / "forbidden"
        forbidden.touch()
        own = _deaths(program, cgroup, "kill", "-", count)
        with _killer(cgroup, forbidden):
            killed = _deaths(program, cgroup, "open", str(forbidden), count)
    if spared := sum(not each["killed"] for each in killed):
        raise BenchError(f"{spared} of {count} were not killed")
    went_on = sum(each["survived"] for each in killed)
    taken, by_itself = ([each["ns"] / MILLION for each in deaths] for deaths in (killed, own))
    note = f"until the parent knows; {went_on} of {count} came to their next instruction"
    return [
        Figure("call to death, killed in the kernel: median", "ms", taken, Goal("<", 1), note=note),
        Figure(
            "call to death, killed in the kernel: 99th percentile", "ms", [percentile(taken, 99)]
        ),
        Figure("  the same for a process that kills itself", "ms", by_itself),
    ]


def _deaths(
    program: Path, cgroup: Cgroup, form: str, what: str, count: int
) -> list[Mapping[str, int]]:
    words = cgroup.entering([str(program), form, what, str(count)])
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode:
        raise BenchError(f"victim ended with {ended.returncode}: {ended.stderr.strip()}")
    return [json.loads(line) for line in ended.stdout.splitlines()]


@contextmanager
def _killer(cgroup: Cgroup, forbidden: Path) -> Generator[None]:
    """Run a job that kills for an open of one path, as an agent runs it for a container."""
    catalogue = Catalogue.load()
    with Object.open(OBJECTS / "cgroups.bpf.o") as programs:
        programs.load()

        def load(key: Key, available: int) -> Instance:
            node = Node(programs.map("targets"), root=find_root(MOUNTS.read_text()))
            return Instance.load(OBJECTS, catalogue.trackers[key.tracker], key, node, available)

        node = os.uname().nodename
        tracing = Tracing(
            Pool(load, 64 << 20),
            node=node,
            use_of=Keys(catalogue, OBJECTS).use,
            open_sinks=lambda _: [Dropped()],
            observed=Observed(catalogue.trackers, node),
        )
        names = ("targets", "pending_limit", "pending_count")
        tracing.open(Targets(*(programs.map(name) for name in names)))
        try:
            tracing.meet(_container(cgroup))
            tracing.apply([_job(forbidden)], {}, time.time())
            for report in tracing.tick().reports.values():
                if report.state != agent_pb2.JOB_STATE_RUNNING:
                    raise BenchError(f"the job that kills does not run: {report.message}")
            yield
        finally:
            tracing.end()
            tracing.shut()


def _container(cgroup: Cgroup) -> Owner:
    return Owner(cgroup.id, "container", NAMESPACE, "pod", "uid", "main", f"{cgroup.id:064x}")


def _job(forbidden: Path) -> agent_pb2.Job:
    rule = agent_pb2.Rule(name="forbidden", when=f'kind == "open" && path == "{forbidden}"')
    return agent_pb2.Job(
        uid="bench/kill/forbidden",
        kind="TraceJob",
        namespace=NAMESPACE,
        name="kill",
        generation=1,
        enforcement=agent_pb2.ENFORCEMENT_KILL,
        target=agent_pb2.Target(pods=True, namespaces=[NAMESPACE]),
        trackers=[agent_pb2.Tracker(name="access")],
        rules=[rule],
        budget=agent_pb2.Budget(events_per_second=1_000_000, memory_bytes=MEMORY),
    )
