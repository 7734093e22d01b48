# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp`: records what is called, and makes a profile of it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from eunomia_agent.cgroups import Cgroups
from eunomia_agent.cli import advice
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.machine import require
from eunomia_agent.cli.paused import Paused
from eunomia_agent.cli.runtime import open_runtime
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.target import of_containers
from eunomia_agent.containers import hierarchy
from eunomia_agent.containers.lookup import find
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Container, Runtime
from eunomia_agent.containers.target import Target, matches
from eunomia_agent.learning import libseccomp
from eunomia_agent.learning.learner import Learner, Wanted
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_agent.trackers.processes import descendants
from eunomia_agent.wanted import target_of
from eunomia_api import agent_pb2
from eunomia_api.profile import Merged, encode, merge, profile

TICK_SECONDS = 0.25
LONGEST = 365 * 24 * 3600.0
_UID = "here"
_BIT = 1


@dataclass(frozen=True, slots=True)
class Whom:
    """What is recorded: one of a command, processes, a container. target: whom it is for."""

    command: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    container: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """What is made of it. output: None for standard output."""

    output: Path | None
    base: str
    allow: tuple[str, ...]


def record(whom: Whom, made: Made, seconds: float | None) -> int:
    """Record, and write the profile; return the command's exit code. Raises AgentError."""
    _check(whom, made, seconds)
    require(())
    return asyncio.run(_record(whom, made, seconds))


def _check(whom: Whom, made: Made, seconds: float | None) -> None:
    if sum(map(bool, (whom.command, whom.pids, whom.container))) != 1:
        raise CommandError(
            "what to record has to be said, once: -- COMMAND, -p PID, or -c CONTAINER"
        )
    if seconds is not None and not 0 < seconds < LONGEST:
        raise CommandError(f"-T must be above 0 and below a year, in seconds, not {seconds:g}")
    if whom.target and not whom.container:
        raise CommandError("--target needs the container to learn from: give --source")
    if whom.target and made.output is None:
        raise CommandError("--target needs a file for the profile: give -o FILE")
    for pid in whom.pids:
        if not Path(f"/proc/{pid}").exists():
            raise CommandError(f"there is no process {pid}")
    with suppress(libseccomp.LibseccompMissing):
        if unknown := libseccomp.unknown(made.allow):
            raise CommandError(f"--allow: there is no system call {', '.join(unknown)}")


async def _record(whom: Whom, made: Made, seconds: float | None) -> int:
    stop, code = Stop(), 0
    async with open_runtime() as runtime:
        known = await runtime.containers() if runtime and whom.container else []
        target = target_of(of_containers([whom.container], known)) if whom.container else Target()
        meant = find(known, whom.target).containers if whom.target else ()
        pids = descendants(whom.pids) if whom.pids else None
        async with _watching(runtime, target, pids, bool(whom.command)) as watch:
            with stop.on_signals():
                if whom.command:
                    code = await _run(watch, whom.command, stop, seconds)
                else:
                    await _wait(stop, seconds, lambda: _are_gone(whom.pids))
            merged = merge(watch.learned())
            problem = watch.learner.problem
    _write(merged, made, problem, meant)
    return code


class _Watch:
    """A learner with one job: what matches a target, and what else is included."""

    def __init__(self, runtime: Runtime | None, target: Target) -> None:
        self.learner = Learner(OBJECTS)
        self.cgroups = Cgroups(OBJECTS, runtime, root=None, on_change=self._meet, on_gone=self.gone)
        self._target = target
        self._included: set[int] = set()

    async def open(self, pids: Iterable[int] | None, *, by_command: bool) -> None:
        """Begin. Raises KernelError."""
        targets = await self.cgroups.load()
        node = self.cgroups.node
        self.learner.open(node.targets, node.hierarchy, pids=pids, by_command=by_command)
        self.learner.apply({_UID: Wanted(_BIT, agent_pb2.Learning(seccomp=True))})
        targets.set_candidates(_BIT)
        await self.cgroups.start()

    async def close(self) -> None:
        """Take all of it out of the kernel."""
        self.learner.close()
        await self.cgroups.close()

    def include(self, owner: Owner) -> None:
        """Record a cgroup."""
        self._included.add(owner.cgroup_id)
        assert self.cgroups.targets is not None
        self.cgroups.targets.set(owner.cgroup_id, _BIT, inherit=True)
        self.learner.meet(owner, (_UID,))

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
    runtime: Runtime | None, target: Target, pids: Iterable[int] | None, by_command: bool
) -> AsyncGenerator[_Watch]:
    watch = _Watch(runtime, target)
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


async def _run(watch: _Watch, command: Sequence[str], stop: Stop, seconds: float | None) -> int:
    """Run a command to its end, and what it started to theirs; return its exit code."""
    paused = Paused(command, hierarchy.here().root)
    try:
        watch.include(Owner(paused.cgroup_id, "host"))
        paused.start()
        await _wait(stop, seconds, lambda: not paused.running())
    finally:
        code = await asyncio.to_thread(paused.end)
    return code


async def _wait(stop: Stop, seconds: float | None, is_over: Callable[[], bool]) -> None:
    """Wait until it is told to stop, for some seconds, or until it is over by itself."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(stop.fileno(), stopped.set)
    deadline = loop.time() + (LONGEST if seconds is None else seconds)
    try:
        while not stopped.is_set() and not is_over() and loop.time() < deadline:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, loop.time() + TICK_SECONDS)):
                    await stopped.wait()
    finally:
        loop.remove_reader(stop.fileno())


def _are_gone(pids: Sequence[int]) -> bool:
    return bool(pids) and not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _write(merged: Merged, made: Made, problem: str | None, meant: Sequence[Container]) -> None:
    if not merged.runs or not merged.calls:
        raise CommandError("nothing was called: no profile is written")
    found = profile(merged.allowed, merged.architectures, base=made.base, allow=made.allow)
    lines = [*advice.summary(merged)]
    with suppress(libseccomp.LibseccompMissing):
        libseccomp.compile_profile(found)
        if unknown := libseccomp.unknown(sorted(merged.allowed)):
            lines.append(f"libseccomp here does not know {', '.join(unknown)}: no filter has them")
    if problem:
        lines.append(problem)
    if made.output is None:
        sys.stdout.write(f"{json.dumps(found, indent=2)}\n")
    else:
        part = made.output.with_name(f".{made.output.name}.{os.getpid()}")
        try:
            part.write_bytes(encode(found))
            part.replace(made.output)
        except OSError as error:
            raise CommandError(f"{made.output}: {error.strerror}") from None
        lines.append(f"written to {made.output}")
        lines += advice.application(made.output, meant) if meant else ()
    sys.stderr.write("".join(f"{line}\n" for line in lines))
