# SPDX-License-Identifier: Apache-2.0
"""Jobs on this machine alone: no operator, no session, nothing kept on the disk.

One thread does it all: it waits for rings, cgroups and time, and writes the rows.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from eunomia_agent.cgroups import Cgroups
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.readiness import tell_ready, tell_stopping
from eunomia_agent.cli.stop import Stop
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Runtime
from eunomia_agent.jobs.keys import Keys
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.jobs.tracing import Tracing
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.sinks.sink import Sink
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.pool import Pool
from eunomia_api import agent_pb2

TICK_SECONDS = 1.0
UNBOUNDED = 1 << 62
"""Bytes of buffers: what a person asks for is what there is."""
FAILED = (agent_pb2.JOB_STATE_FAILED, agent_pb2.JOB_STATE_UNSUPPORTED)


class Local:
    """Runs jobs until it is told to stop.

    open_sinks: called for each job as it starts. runtime: whom to ask whose containers are;
    None: nobody. on_look: told each second, and after each reading, where the jobs stand.
    """

    def __init__(
        self,
        jobs: Sequence[agent_pb2.Job],
        open_sinks: Callable[[agent_pb2.Job], Sequence[Sink]],
        *,
        catalogue: Catalogue,
        observed: Observed,
        node: str,
        runtime: Runtime | None = None,
        on_look: Callable[[Standing], None] = lambda _: None,
    ) -> None:
        self._jobs = jobs
        self._on_look = on_look
        self._watched: dict[Instance, int] = {}
        self._gathering: set[Instance] = set()

        def load(key: Key, available: int) -> Instance:
            tracker = catalogue.trackers[key.tracker]
            return Instance.load(OBJECTS, tracker, key, self._cgroups.node, available)

        self._tracing = Tracing(
            Pool(load, UNBOUNDED),
            node=node,
            use_of=Keys(catalogue).use,
            open_sinks=open_sinks,
            observed=observed,
        )
        self._cgroups = Cgroups(
            OBJECTS, runtime, root=None, on_change=self._meet, on_gone=self._tracing.gone
        )

    @property
    def sees_containers(self) -> bool:
        """Whether there are containers, known by name or not."""
        return any(owner.container_id for owner in self._tracing.owners.values())

    async def run(self, stop: Stop, seconds: float | None = None) -> Standing:
        """Trace until stopped, or for some seconds; return where all stood at the end.

        A service manager is told when all jobs have been started, and when they end. Raises
        AgentError when no job can run.
        """
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_reader(stop.fileno(), stopped.set)
        try:
            await self._start()
            tell_ready()
            if seconds is not None:
                loop.call_later(seconds, stop.set)
            while not stop.is_set:
                standing = self._look()
                self._on_look(standing)
                reading = standing.next_reading
                wait = TICK_SECONDS if reading is None else reading - time.monotonic()
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(TICK_SECONDS, wait))):
                        await stopped.wait()
            tell_stopping()
        finally:
            loop.remove_reader(stop.fileno())
            for instance in list(self._watched):
                self._unwatch(instance)
            standing = self._tracing.end()
            await self._cgroups.close()
        return standing

    async def _start(self) -> None:
        self._tracing.open(await self._cgroups.load())
        await self._cgroups.start()
        self._tracing.apply(self._jobs, {}, time.time())
        standing = self._look()
        failed = [each.message for each in standing.reports.values() if each.state in FAILED]
        if len(failed) == len(self._jobs):
            raise CommandError("; ".join(dict.fromkeys(failed)))
        self._on_look(standing)

    def _meet(self, owner: Owner) -> None:
        self._tracing.meet(owner)

    def _look(self) -> Standing:
        standing = replace(self._tracing.tick(), problem=self._cgroups.problem)
        for instance in self._watched.keys() - set(standing.instances):
            self._unwatch(instance)
        for instance in standing.instances:
            if instance.has_events and instance not in self._watched:
                descriptor = self._watched[instance] = os.dup(instance.fileno())
                asyncio.get_running_loop().add_reader(descriptor, self._wake, instance)
        return standing

    def _unwatch(self, instance: Instance) -> None:
        descriptor = self._watched.pop(instance)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._gathering.discard(instance)

    def _wake(self, instance: Instance) -> None:
        """Let rows gather a little after the first one; at a second call read them now."""
        delay = instance.woken()
        if not delay:
            self._gathering.add(instance)
            self._drain(instance)
        elif instance not in self._gathering:
            self._gathering.add(instance)
            asyncio.get_running_loop().call_later(delay, self._drain, instance)

    def _drain(self, instance: Instance) -> None:
        if instance in self._gathering:
            self._gathering.discard(instance)
            self._tracing.drain(instance)
