# SPDX-License-Identifier: Apache-2.0
"""A system call of a container that is learned, beside one with an empty program at the same hook.

Turns alternate; of each, the least of several bursts: who disturbs a burst makes it longer.
"""

import struct
import tempfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.cgroup import Cgroup
from bench.figure import Figure, Goal
from bench.generator import Generator as Load
from bench.program import compiled
from eunomia_agent.kernel.object import Object
from eunomia_agent.learning.recording import Recording
from eunomia_agent.trackers.catalogue import OBJECTS

JOB = 1
CLASSIFIED = struct.pack("=QII", JOB, 0, 1)
"""struct target: the jobs it is of, that its owner is known, one who holds it."""
CALLS = 200_000


def measure(load: Load, cgroup: Cgroup, rounds: int, bursts: int) -> list[Figure]:
    """Let a process call getpid, with nothing, an empty program, the recording."""

    def least() -> float:
        runs = (load.run(cgroup, "getpid", "-", count=CALLS) for _ in range(bursts))
        return min(run.ns_each for run in runs)

    bare: list[float] = []
    empty: list[float] = []
    learned: list[float] = []
    with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder:
        program = compiled("empty.bpf.c", Path(folder))
        for _ in range(rounds):
            bare.append(least())
            empty.append(_with(_nothing(program), least))
            learned.append(_with(_recording(cgroup), least))
    more = [one - another for one, another in zip(learned, empty, strict=True)]
    note = f"rounds in pairs; between the least of either {min(learned) - min(empty):.0f} ns"
    return [
        Figure(
            "learned system call, beside an empty program", "ns", more, Goal("≤", 40), note=note
        ),
        Figure("  getpid with no program", "ns", bare),
        Figure("  getpid with an empty program", "ns", empty),
        Figure("  getpid that is learned", "ns", learned),
    ]


def _with(programs: AbstractContextManager[None], least: Callable[[], float]) -> float:
    with programs:
        return least()


@contextmanager
def _nothing(program: Path) -> Generator[None]:
    with Object.open(program) as nothing:
        nothing.load()
        nothing.attach()
        yield


@contextmanager
def _recording(cgroup: Cgroup) -> Generator[None]:
    """Attach what learns, with one cgroup to learn from."""
    with Object.open(OBJECTS / "cgroups.bpf.o") as agent_wide:
        agent_wide.load()
        targets = agent_wide.map("targets")
        recording = Recording.open(OBJECTS, targets, 0, by_command=True)
        try:
            recording.set_jobs(JOB)
            targets.update(struct.pack("=Q", cgroup.id), CLASSIFIED)
            yield
        finally:
            recording.close()
