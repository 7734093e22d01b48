# SPDX-License-Identifier: Apache-2.0
"""Watches the system calls of a command, of processes or of containers, for `eunomia seccomp`."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from eunomia_agent.cgroups import Cgroups
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.paused import Paused
from eunomia_agent.cli.runtime import open_runtime
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.target import of_containers
from eunomia_agent.containers import hierarchy
from eunomia_agent.containers.lookup import find
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Runtime
from eunomia_agent.containers.target import Target, matches
from eunomia_agent.finding import Finding
from eunomia_agent.learning.learner import Learner, Wanted
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_agent.trackers.processes import descendants
from eunomia_agent.wanted import target_of
from eunomia_api import agent_pb2

TICK_SECONDS = 0.25
LONGEST = 365 * 24 * 3600.0
_UID = "here"
_BIT = 1


@dataclass(frozen=True, slots=True)
class Whom:
    """What is watched: one of a command, processes, a container. seconds: None for no bound.

    target: another container, which has to be there, too.
    """

    command: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    container: str = ""
    seconds: float | None = None
    target: str = ""

    def check(self) -> None:
        """Raise CommandError for what is none of them, or more than one."""
        if sum(map(bool, (self.command, self.pids, self.container))) != 1:
            raise CommandError(
                "whose calls are meant has to be said, once: -- COMMAND, -p PID, or -c CONTAINER"
            )
        if self.seconds is not None and not 0 < self.seconds < LONGEST:
            raise CommandError(
                f"-T must be above 0 and below a year, in seconds, not {self.seconds:g}"
            )
        for pid in self.pids:
            if not Path(f"/proc/{pid}").exists():
                raise CommandError(f"there is no process {pid}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen. code: the command's exit code. meant: what Whom.target stands for.

    problem: what went unseen, or None.
    """

    code: int
    learned: Sequence[agent_pb2.Learned]
    findings: Sequence[Finding]
    meant: Sequence[Container]
    problem: str | None


async def watch(whom: Whom, learning: agent_pb2.Learning) -> Seen:
    """Watch until the command or the processes end, some seconds are over, or it is told to stop.

    Raises AgentError.
    """
    stop, code = Stop(), 0
    async with open_runtime() as runtime:
        known = await runtime.containers() if runtime and whom.container else []
        target = target_of(of_containers([whom.container], known)) if whom.container else Target()
        meant = find(known, whom.target).containers if whom.target else ()
        pids = descendants(whom.pids) if whom.pids else None
        async with _watching(runtime, target, pids, bool(whom.command), learning) as watching:
            with stop.on_signals():
                if whom.command:
                    code = await _run(watching, whom.command, stop, whom.seconds)
                else:
                    await _wait(watching, stop, whom.seconds, lambda: _are_gone(whom.pids))
            learned = watching.learned()
            findings = [each for _, each in watching.learner.take_findings()]
            return Seen(code, learned, findings, meant, watching.learner.problem)


class _Watching:
    """A learner with one job: what matches a target, and what else is included."""

    def __init__(
        self, runtime: Runtime | None, target: Target, learning: agent_pb2.Learning
    ) -> None:
        self.learner = Learner(OBJECTS)
        self.cgroups = Cgroups(OBJECTS, runtime, root=None, on_change=self._meet, on_gone=self.gone)
        self._target = target
        self._learning = learning
        self._included: set[int] = set()

    async def open(self, pids: Iterable[int] | None, *, by_command: bool) -> None:
        """Begin. Raises KernelError."""
        targets = await self.cgroups.load()
        node = self.cgroups.node
        self.learner.open(node.targets, node.hierarchy, pids=pids, by_command=by_command)
        self.learner.apply({_UID: Wanted(_BIT, self._learning)})
        targets.set_candidates(_BIT)
        await self.cgroups.start()

    async def close(self) -> None:
        """Take all of it out of the kernel."""
        self.learner.close()
        await self.cgroups.close()

    def include(self, owner: Owner) -> None:
        """Record a cgroup.

        Once it is a target its calls are looked at: by then the kernel has to know what is allowed.
        """
        self._included.add(owner.cgroup_id)
        assert self.cgroups.targets is not None
        self.learner.meet(owner, (_UID,))
        self.cgroups.targets.set(owner.cgroup_id, _BIT, inherit=True)

    def learned(self) -> list[agent_pb2.Learned]:
        """Return what was seen up to now."""
        self.learner.tick()
        return self.learner.report(_UID)

    def gone(self, cgroup_id: int) -> None:
        """Take note that a cgroup is gone."""
        self.learner.gone(cgroup_id)
        if self.cgroups.targets is not None:
            self.cgroups.targets.delete(cgroup_id)

    def _meet(self, owner: Owner) -> None:
        targets = self.cgroups.targets
        assert targets is not None
        if owner.kind == "pending":
            targets.pend(owner.cgroup_id)
        elif matches(self._target, owner):
            self.include(owner)
        elif owner.cgroup_id not in self._included:
            targets.set(owner.cgroup_id, 0, inherit=False)
            self.learner.meet(owner, ())


@asynccontextmanager
async def _watching(
    runtime: Runtime | None,
    target: Target,
    pids: Iterable[int] | None,
    by_command: bool,
    learning: agent_pb2.Learning,
) -> AsyncGenerator[_Watching]:
    watch = _Watching(runtime, target, learning)
    try:
        await watch.open(pids, by_command=by_command)
        for cgroup in _cgroups_of(pids or ()):
            watch.include(Owner(cgroup, "host"))
        yield watch
    finally:
        await watch.close()


def _cgroups_of(pids: Iterable[int]) -> set[int]:
    """Return the ids of the cgroups that processes are in."""
    found: set[int] = set()
    place = hierarchy.here()
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            paths = dict(line.split(":", 2)[::2] for line in lines)
            path = paths.get(str(place.number), "/").lstrip("/")
            found.add(os.stat((place.root or Path("/")) / path).st_ino)
    return found


async def _run(watch: _Watching, command: Sequence[str], stop: Stop, seconds: float | None) -> int:
    """Run a command to its end, and what it started to theirs; return its exit code."""
    paused = Paused(command, hierarchy.here().root)
    try:
        watch.include(Owner(paused.cgroup_id, "host"))
        paused.start()
        await _wait(watch, stop, seconds, lambda: not paused.running())
    finally:
        code = await asyncio.to_thread(paused.end)
    return code


async def _wait(
    watch: _Watching, stop: Stop, seconds: float | None, is_over: Callable[[], bool]
) -> None:
    """Wait until it is told to stop, for some seconds, or until it is over by itself."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(stop.fileno(), stopped.set)
    deadline = loop.time() + (LONGEST if seconds is None else seconds)
    try:
        while not stopped.is_set() and not is_over() and loop.time() < deadline:
            watch.learner.tick()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, loop.time() + TICK_SECONDS)):
                    await stopped.wait()
    finally:
        loop.remove_reader(stop.fileno())


def _are_gone(pids: Sequence[int]) -> bool:
    return bool(pids) and not any(Path(f"/proc/{pid}").exists() for pid in pids)
