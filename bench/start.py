# SPDX-License-Identifier: Apache-2.0
"""Load and attachment of each tracker."""

import time

from bench.figure import Figure, Goal
from eunomia_agent.jobs.keys import Keys
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.loading import Node
from eunomia_api import agent_pb2

RUNS = 10
RING_BYTES = 2 << 20
"""As with the default budget and two trackers."""


def measure() -> list[Figure]:
    """Start every tracker of the catalogue again and again, in this process."""
    catalogue = Catalogue.load()
    keys = Keys(catalogue, OBJECTS)
    figures: list[Figure] = []
    with Object.open(OBJECTS / "cgroups.bpf.o") as programs:
        programs.load()
        for tracker in catalogue.trackers.values():
            job = agent_pb2.Job(budget=agent_pb2.Budget(memory_bytes=2 * RING_BYTES))
            key = keys.use(job, agent_pb2.Tracker(name=tracker.name)).key
            times: list[float] = []
            for _ in range(RUNS):
                began = time.monotonic()
                instance = Instance.load(OBJECTS, tracker, key, Node(programs.map("targets")))
                instance.attach()
                times.append((time.monotonic() - began) * 1000)
                instance.retire()()
            figures.append(Figure(f"start of {tracker.name}", "ms", times, Goal("<", 100)))
    return figures
