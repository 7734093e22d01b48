# SPDX-License-Identifier: Apache-2.0
"""The agent of a node: the loop that ties operator, containers, trackers and disk together.

The loop waits; the data thread works. Whatever touches the trackers' maps and rows runs there, one
thing after another, so that none of it needs a lock. The agent's own files are written on others.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from eunomia_agent.cgroups import Cgroups
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.wearing import Wearing, Worn
from eunomia_agent.errors import AgentError
from eunomia_agent.exporter import Accounts
from eunomia_agent.heap import trim
from eunomia_agent.jobs.admission import may_run
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.jobs.tracing import Tracing
from eunomia_agent.link.reporter import Reporter
from eunomia_agent.link.sending import Sending
from eunomia_agent.link.session import Heard, Session
from eunomia_agent.link.spool import Spool
from eunomia_agent.seccomp_files import SeccompFiles
from eunomia_agent.silence import Moment
from eunomia_agent.state import Desired, JobTotals, Store
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.wanted import is_policy
from eunomia_api import agent_pb2

logger = logging.getLogger("eunomia.agent")

TICK_SECONDS = 1.0
REST_SECONDS = 5.0
"""While nothing changes. The first row puts an end to it."""
IDLE_SECONDS = 20.0
RETRY_SECONDS = 10.0
STUCK_SECONDS = 60.0
UNHEARD_SECONDS = 24 * 3600.0
HEARD_SAVE_SECONDS = 60.0

P = ParamSpec("P")
R = TypeVar("R")


class Agent:
    """Keeps the node's jobs as the operator wants them, and tells it what comes of them."""

    cgroups: Cgroups
    session: Session
    sending: Sending
    wearing: Wearing

    def __init__(
        self,
        tracing: Tracing,
        store: Store,
        node: str,
        accounts: Accounts,
        *,
        alerts: Spool,
        seccomp_files: SeccompFiles,
    ) -> None:
        """Prepare; the four members above call back: set them before `run`."""
        self._tracing = tracing
        self._store = store
        self._alerts = alerts
        self._seccomp_files = seccomp_files
        self._accounts = accounts
        self._thread = ThreadPoolExecutor(1, "data")
        self._watched: dict[Instance, int] = {}
        self._next_deadline: float | None = None
        self._next_reading: float | None = None
        self._retry_at: float | None = None
        """When to try again to start jobs, on the monotonic clock."""
        self._gathering: set[Instance] = set()
        self._fresh: asyncio.Queue[Heard] = asyncio.Queue()
        self._desired: Desired | None = None
        self._before: dict[str, JobTotals] = {}
        self._kept: Mapping[str, JobTotals] | None = None
        """The totals on the disk."""
        self._kept_learned: Mapping[str, Any] | None = None
        self._reporter = Reporter(node)
        self._heard_on_stream = False
        """Whether the present stream's desired state is applied: it may be for another node."""
        self._changed = asyncio.Event()
        self._applied = False
        self._last_look = time.monotonic()
        self._resting = False
        """Whether the last look found all as the one before did."""
        self._turn = asyncio.Lock()
        """Held while the set of jobs that run may change."""

    async def _on_data_thread(
        self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))

    # Called on the loop, by others

    def hear(self, heard: Heard) -> None:
        """Take a desired state from the operator."""
        self._fresh.put_nowait(heard)

    def stream_is_up(self) -> None:
        """Forget what was reported: the new stream has heard nothing."""
        self._reporter.begin()
        self.sending.begin()
        self._heard_on_stream = False

    def meet(self, owner: Owner) -> None:
        """Take in a cgroup's owner."""
        self._thread.submit(self._tracing.meet, owner).add_done_callback(_log_failure)
        self._changed.set()

    def gone(self, cgroup_id: int) -> None:
        """Forget a cgroup."""
        self._thread.submit(self._tracing.gone, cgroup_id).add_done_callback(_log_failure)

    def wear(self, told: Worn) -> None:
        """Take in what containers wear."""
        self._thread.submit(self._tracing.wear, told).add_done_callback(_log_failure)
        self._changed.set()

    def healthy(self) -> bool:
        """Whether the jobs have been looked at lately. May be called on any thread."""
        return time.monotonic() - self._last_look < STUCK_SECONDS

    def ready(self) -> bool:
        """Whether, further, what the operator wanted last is done: profiles lie in their places."""
        return self._applied and self.healthy()

    # The agent's life

    async def run(self) -> None:
        """Go on with what was wanted last, then follow the operator, until cancelled."""
        await self._resume()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._keep_time())
            tasks.create_task(self._keep_heard())
            tasks.create_task(self.session.run())
            tasks.create_task(self.sending.run())

    async def _resume(self) -> None:
        self._before = await self._on_data_thread(self._store.load_totals)
        self._desired = await self._on_data_thread(self._store.load_desired)
        if self._desired is not None:
            await self._on_data_thread(self._tracing.silent_for, self._silence())
            await self._apply(self._desired.state)

    async def close(self) -> None:
        """Take everything out of the kernel, and keep the last totals."""
        for instance in list(self._watched):
            self._unwatch(instance)
        standing = await self._on_data_thread(self._tracing.end)
        await self.cgroups.close()
        await self.wearing.close()
        self._thread.shutdown()
        await asyncio.to_thread(self._keep, standing)
        await asyncio.to_thread(self._alerts.sync)
        self._alerts.close()

    async def _follow(self) -> None:
        while True:
            heard = await self._fresh.get()
            while not self._fresh.empty():
                heard = self._fresh.get_nowait()
            if self._desired is not None and self._desired.node_uid != heard.node_uid:
                logger.warning("this node is another one now; its totals begin anew")
                await self._apply(agent_pb2.DesiredState())
                self._before = {}
            self._desired = Desired(heard.desired_state, heard.node_uid, Moment.now())
            await self._save_desired()
            self._heard_on_stream = True
            await self._apply(heard.desired_state)
            self.session.send(
                agent_pb2.FromAgent(
                    acknowledgement=agent_pb2.Acknowledgement(
                        generation=heard.desired_state.generation
                    )
                )
            )

    async def _apply(self, state: agent_pb2.DesiredState) -> None:
        began = time.monotonic()
        async with self._turn:
            await asyncio.to_thread(self._seccomp_files.apply, state.seccomp_files)
            if any(may_run(job, time.time()) for job in state.jobs):
                await self._open_cgroups()
            await self._on_data_thread(
                self._tracing.apply, list(state.jobs), self._before, time.time()
            )
            await self._look()
            await self._on_data_thread(trim)
        self._applied = True
        self._changed.set()
        logger.info(
            "generation %d: %d jobs, applied in %.0f ms",
            state.generation,
            len(state.jobs),
            (time.monotonic() - began) * 1000,
        )

    async def _open_cgroups(self) -> None:
        if self.cgroups.is_open:
            return
        try:
            targets = await self.cgroups.load()
            await self._on_data_thread(self._tracing.open, targets)
            await self.cgroups.start()
        except AgentError as error:
            logger.error("no job can run: %s", error)
            await self._on_data_thread(self._tracing.shut, str(error))
            await self.cgroups.close()

    async def _keep_time(self) -> None:
        """Settle and report: each second, at once at a change, and on time at a deadline."""
        while True:
            self._changed.clear()
            await self._end_unheard()
            await self._retry()
            async with self._turn:
                standing = await self._look()
                if self.cgroups.is_open and not standing.running:
                    await self._on_data_thread(self._tracing.shut)
                    await self.cgroups.close()
            if not standing.running:
                await self._pause(IDLE_SECONDS)
            else:
                await self._pause(REST_SECONDS if self._resting else TICK_SECONDS)

    async def _retry(self) -> None:
        """Try again to start the jobs that could not be started a while ago."""
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            assert self._desired is not None
            await self._apply(self._desired.state)

    async def _look(self) -> Standing:
        """See where the jobs stand; keep the totals, then report them."""
        standing = await self._on_data_thread(self._expire_and_tick, self._silence())
        self._last_look = time.monotonic()
        self._retry_at = time.monotonic() + RETRY_SECONDS if standing.to_retry else None
        before = self._accounts.standing
        self._resting = replace(standing, next_reading=before.next_reading) == before
        self._watch(standing.instances)
        if self._seccomp_files.any_here or standing.learns:
            self.wearing.ask(standing.unasked)
        self._next_deadline, self._next_reading = standing.next_deadline, standing.next_reading
        self._accounts.standing, self._accounts.connected = standing, self.session.connected
        kept = await asyncio.to_thread(self._keep, standing)
        problems = [each for each in (self.cgroups.problem, kept, self._alerts.problem) if each]
        if self._heard_on_stream:
            self._reporter.report(self.session, standing.reports, self._kept or {}, problems)
            self._reporter.report_files(self.session, self._seccomp_files.reports())
        return standing

    def _keep(self, standing: Standing) -> str | None:
        """Write what is to be reported, and profiles that somebody changed. Returns what failed."""
        self._seccomp_files.tick(standing.worn, sure=not standing.unasked)
        try:
            if standing.learned is not None and standing.learned != self._kept_learned:
                self._store.save_learned(standing.learned)
                self._kept_learned = standing.learned
            if standing.totals != self._kept:
                self._store.save_totals(standing.totals)
                self._kept = standing.totals
        except OSError as error:
            logger.error("totals cannot be kept, so they are not reported: %s", error)
            return f"state: {error}"
        return None

    def _silence(self) -> float:
        """Return for how long the operator has been silent, in seconds."""
        if self._desired is None or self.session.connected:
            return 0.0
        return self._desired.heard.until(Moment.now())

    def _expire_and_tick(self, silence: float) -> Standing:
        self._tracing.expire(time.time())
        self._tracing.silent_for(silence)
        return self._tracing.tick()

    async def _pause(self, left: float) -> None:
        if self._next_deadline is not None:
            left = min(left, self._next_deadline - time.time())
        if self._retry_at is not None:
            left = min(left, self._retry_at - time.monotonic())
        if self._next_reading is not None:
            left = min(left, self._next_reading - time.monotonic())
        try:
            # Not wait_for(): until Python 3.12 it may pass over being cancelled.
            async with asyncio.timeout(max(0.0, left)):
                await self._changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(0.05)  # changes come in flocks

    async def _keep_heard(self) -> None:
        """Keep the time of the operator's last word: a stream that is up counts as one."""
        while True:
            await asyncio.sleep(HEARD_SAVE_SECONDS)
            if self._desired is not None and self.session.connected:
                self._desired = Desired(self._desired.state, self._desired.node_uid, Moment.now())
                await self._save_desired()

    async def _end_unheard(self) -> None:
        """Suspend jobs without a deadline when the operator has been silent for a day.

        Policies go on: they say themselves for how long they kill.
        """
        desired = self._desired
        if desired is None or self._silence() < UNHEARD_SECONDS:
            return
        state = agent_pb2.DesiredState()
        state.CopyFrom(desired.state)
        for job in state.jobs:
            job.suspended = job.suspended or not (job.deadline_ms or is_policy(job))
        if state != desired.state:
            logger.warning("the operator has been silent for 24 h: jobs without an end are halted")
            self._desired = Desired(state, desired.node_uid, desired.heard)
            await self._save_desired()
            await self._apply(state)

    async def _save_desired(self) -> None:
        assert self._desired is not None
        try:
            await asyncio.to_thread(self._store.save_desired, self._desired)
        except OSError as error:
            logger.error("the desired state cannot be kept: %s", error)

    # Rings

    def _watch(self, instances: Sequence[Instance]) -> None:
        """Watch the rings of the instances that run, and of no others.

        The descriptor is our own copy: the instance may be closed, and its number be another
        file's, before the loop has let go of it.
        """
        for instance in [each for each in self._watched if each not in instances]:
            self._unwatch(instance)
        for instance in instances:
            if instance.has_events and instance not in self._watched:
                descriptor = os.dup(instance.fileno())
                self._watched[instance] = descriptor
                asyncio.get_running_loop().add_reader(descriptor, self._wake, instance)

    def _unwatch(self, instance: Instance) -> None:
        descriptor = self._watched.pop(instance)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._gathering.discard(instance)

    def _wake(self, instance: Instance) -> None:
        """Let rows gather a little after the first one; at a second call read them now."""
        try:
            delay = instance.woken()
        except ValueError:  # it was closed a moment ago
            return
        if delay and instance not in self._gathering:
            self._gathering.add(instance)
            asyncio.get_running_loop().call_later(delay, self._drain, instance)
        elif not delay:
            self._gathering.add(instance)
            self._drain(instance)

    def _drain(self, instance: Instance) -> None:
        if self._resting:
            self._resting = False
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._changed.set)
        if instance in self._gathering:
            self._gathering.discard(instance)
            self._thread.submit(self._tracing.drain, instance).add_done_callback(_log_failure)


def _log_failure(future: "Future[None]") -> None:
    error = future.exception()
    if error is not None:
        logger.error("on the data thread: %s", error, exc_info=error)
