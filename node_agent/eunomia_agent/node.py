# SPDX-License-Identifier: Apache-2.0
"""Puts the agent of a node together."""

import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from eunomia_agent.agent import Agent
from eunomia_agent.cgroups import Cgroups
from eunomia_agent.containers.sockets import open_runtime
from eunomia_agent.containers.wearing import Wearing
from eunomia_agent.errors import OutputUnknown
from eunomia_agent.exporter import Accounts, Exporter
from eunomia_agent.heap import map_large_blocks, trim
from eunomia_agent.jobs.guards import Guards
from eunomia_agent.jobs.keys import Keys
from eunomia_agent.jobs.lessons import Lessons
from eunomia_agent.jobs.outputs import AlertOutputs
from eunomia_agent.jobs.tracing import Tracing
from eunomia_agent.kernel import features
from eunomia_agent.link.sending import Sending
from eunomia_agent.link.session import Session
from eunomia_agent.link.spool import Spool
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.metrics.security import Security
from eunomia_agent.seccomp_files import SeccompFiles, problem_of
from eunomia_agent.settings import Settings
from eunomia_agent.sinks.file import FileSink
from eunomia_agent.sinks.log import LineWriter, LogSink
from eunomia_agent.sinks.sink import Sink
from eunomia_agent.state import Store
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.pool import Pool
from eunomia_agent.trackers.support import lacks
from eunomia_agent.wanted import is_policy, name_of
from eunomia_api import agent_pb2
from eunomia_api.param import shown

if TYPE_CHECKING:
    from eunomia_agent.learning.learner import Learner

logger = logging.getLogger("eunomia.node")

PROTOCOL = 1


async def serve(settings: Settings) -> None:
    """Run the agent of a node until cancelled. Raises AgentError when it cannot start."""
    map_large_blocks()
    store = Store(settings.state)
    catalogue = Catalogue.load()
    observed = Observed(catalogue.trackers, settings.node)
    accounts, security = Accounts(), Security(settings.node)
    spool = Spool(settings.state)
    jobs, writer = settings.state / "jobs", LineWriter()
    guards = Guards(catalogue.trackers, spool, security, AlertOutputs(jobs, writer))
    spool.on_gone = guards.note_gone
    runtime = open_runtime(cri=settings.cri_socket, docker=settings.docker_socket)
    if runtime is None:
        logger.warning("no container runtime's socket was found: containers stay unknown")

    def load(key: Key, available: int) -> Instance:
        tracker = catalogue.trackers[key.tracker]
        return Instance.load(OBJECTS, tracker, key, cgroups.node, available)

    tracing = Tracing(
        Pool(load, settings.memory_bytes),
        node=settings.node,
        use_of=Keys(catalogue, OBJECTS).use,
        open_sinks=Sinks(jobs, guards, writer).open,
        observed=observed,
        lessons=Lessons(lambda: _learner(store), lambda: cgroups.node),
        on_forget=guards.forget,
        kubernetes_api=settings.kubernetes_api,
    )
    guards.jobs = tracing.jobs
    agent = Agent(
        tracing,
        store,
        settings.node,
        accounts,
        alerts=spool,
        seccomp_files=SeccompFiles(settings.seccomp_dir, problem_of),
    )
    cgroups = Cgroups(
        OBJECTS, runtime, root=settings.cgroup_root, on_change=agent.meet, on_gone=agent.gone
    )
    hello = _hello(catalogue)
    trim()
    session = Session(settings, lambda: hello, agent.hear, agent.stream_is_up, spool.taken)
    agent.cgroups, agent.session = cgroups, session
    agent.sending = Sending(spool, session)
    agent.wearing = Wearing(runtime, agent.wear)
    exporter = Exporter(
        settings.metrics_port, accounts, observed, agent.healthy, security, ready=agent.ready
    )
    try:
        await agent.run()
    finally:
        exporter.close()
        await agent.close()
        if runtime is not None:
            await runtime.close()


class Sinks:
    """Opens the outputs of jobs; before those of a policy, its guard."""

    def __init__(self, folder: Path, guards: Guards, writer: LineWriter) -> None:
        self._folder = folder
        self._guards = guards
        self._writer = writer

    def open(self, job: agent_pb2.Job) -> list[Sink]:
        """Return the sinks of a job. Raises OutputUnknown."""
        name = name_of(job)
        sinks: list[Sink] = [self._guards.guard(job)] if is_policy(job) else []
        for output in job.outputs:
            match output:
                case "file":
                    sinks.append(FileSink(self._folder, name))
                case "log":
                    sinks.append(LogSink(self._writer, name))
                case _:
                    raise OutputUnknown(
                        f"this agent has no output {shown(output)}; it has file, log"
                    )
        return sinks


def _learner(store: Store) -> "Learner":
    from eunomia_agent.learning.learner import Learner  # noqa: PLC0415  (few nodes learn)

    return Learner(OBJECTS, store.load_learned())


def _hello(catalogue: Catalogue) -> agent_pb2.Hello:
    offered = features.probe()
    return agent_pb2.Hello(
        protocol=PROTOCOL,
        agent_version=version("eunomia"),
        kernel_release=os.uname().release,
        catalogue_hash=catalogue.hash,
        features=sorted(offered.names),
        trackers=[
            agent_pb2.TrackerSupport(name=tracker.name, missing=lacks(tracker))
            for tracker in catalogue.trackers.values()
        ],
    )
