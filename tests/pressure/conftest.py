# SPDX-License-Identifier: Apache-2.0
"""Jobs on this machine through all that the agent is, and loads of known size."""

import asyncio
import ctypes
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.cli.local import Local
from eunomia_agent.cli.stop import Stop
from eunomia_agent.containers.hierarchy import find_root
from eunomia_agent.kernel.libbpf import library
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.sinks.sink import Sink
from eunomia_agent.standing import Standing
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

SOURCE = Path(__file__).with_name("load.c")
TRACEFS = Path("/sys/kernel/tracing")


@pytest.fixture(scope="session", autouse=True)
def _kernel() -> Iterator[None]:
    mine = os.geteuid() == 0 and not (TRACEFS / "events").exists()
    if mine:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACEFS], check=True)
    yield
    if mine:
        subprocess.run(["umount", "--lazy", TRACEFS], check=False)


class Loads:
    """Starts loads, which wait until they are let go."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object, cgroup: Path | None = None) -> subprocess.Popen[bytes]:
        def enter() -> None:
            if cgroup is not None:
                (cgroup / "cgroup.procs").write_text(str(os.getpid()))

        command = [self._program, *(os.fsencode(str(each)) for each in arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=enter)  # noqa: PLW1509
        self.running.append(process)
        return process

    def go(self, *processes: subprocess.Popen[bytes]) -> None:
        """Let them go, all at once."""
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()

    def run(self, *arguments: object, cgroup: Path | None = None) -> None:
        """Run one to its end."""
        process = self.start(*arguments, cgroup=cgroup)
        self.go(process)
        assert process.wait(timeout=200) == 0


@pytest.fixture(scope="session")
def _program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler for the load")
    program = tmp_path_factory.mktemp("load") / "load"
    subprocess.run([compiler, "-O2", "-Wall", SOURCE, "-o", program], check=True)
    return program


@pytest.fixture(scope="module")
def loads(_program: Path) -> Iterator[Loads]:
    loads = Loads(_program)
    yield loads
    for process in loads.running:
        process.kill()
        process.communicate()


class Rendered:
    """A sink that looks at all rows, and keeps none."""

    name = "rendered"
    limited = 0
    problem: str | None = None

    def write(self, rows: Rows) -> int:
        return len(rows.json())

    def close(self) -> None:
        """Nothing is open."""


class Machine:
    """Jobs that run here on a thread of their own, as `eunomia run` runs them."""

    def __init__(
        self, jobs: Sequence[agent_pb2.Job], sinks: Callable[[agent_pb2.Job], Sequence[Sink]]
    ) -> None:
        self.catalogue = Catalogue.load()
        self.observed = Observed(self.catalogue.trackers, "n1")
        self.standing = Standing()
        self.failure: BaseException | None = None
        self._sinks = sinks
        self._jobs = jobs
        self.ended = False
        self._looks = 0
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.wait(lambda: self._looks > 0)

    def _run(self) -> None:
        try:
            self._local = Local(
                self._jobs,
                self._sinks,
                catalogue=self.catalogue,
                observed=self.observed,
                node="n1",
                on_look=self._look,
            )
            self.standing = asyncio.run(self._local.run(self._stop))
        except BaseException as error:
            self.failure = error

    def _look(self, standing: Standing) -> None:
        self._loop = asyncio.get_running_loop()
        self.standing = standing
        self._looks += 1

    def apply(self, *jobs: agent_pb2.Job) -> None:
        """Run these jobs from now on, and no other."""

        def apply() -> None:
            self._local._tracing.apply(jobs, {}, time.time())
            self._local._look()

        self.call(apply)

    def call(self, function: Callable[[], Any]) -> None:
        """Call a function where all the work is done."""

        async def call() -> None:
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(120)

    def wait(self, until: Callable[[], object], seconds: float = 20) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not until():
            assert self.failure is None, self.failure
            assert time.monotonic() < deadline, self.standing.totals
            time.sleep(0.05)
            if self._looks:
                self.call(self._local._look)

    def total(self, uid: str) -> Totals:
        return totals(self.standing.totals[uid])

    def end(self) -> Standing:
        """Stop; return where all stood at the end. May be called again."""
        if not self.ended:
            self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if not self.ended:
            self.ended = True
            os.close(self._stop.fileno())
        if self.failure is not None:
            raise self.failure
        return self.standing


def totals(found: JobTotals) -> Totals:
    return sum(found.trackers.values(), Totals())


@pytest.fixture(scope="module")
def machine() -> Iterator[Callable[..., Machine]]:
    """Run jobs; sinks: gives each job its sinks."""
    started: list[Machine] = []

    def start(*jobs: agent_pb2.Job, sinks: Callable[[agent_pb2.Job], Any] | None = None) -> Machine:
        started.append(Machine(jobs, sinks or (lambda _: [Rendered()])))
        return started[-1]

    yield start
    for each in started:
        if each.failure is None:
            each.end()


@pytest.fixture(scope="session")
def job() -> Callable[..., agent_pb2.Job]:
    """A job of opens by a prefix, of everybody's unless cgroups are named."""

    def make(
        uid: str = "a",
        *,
        memory: int = 8 << 20,
        rate: int = 0,
        cgroups: Sequence[Path] = (),
        trackers: Sequence[agent_pb2.Tracker] = (),
        **fields: Any,
    ) -> agent_pb2.Job:
        names = [f"/{each.name}" for each in cgroups]
        opens = agent_pb2.Tracker(
            name="opensnoop", params={"prefix": agent_pb2.Param(text=f"/none/{uid}-")}
        )
        return agent_pb2.Job(
            uid=uid,
            kind="ClusterTraceJob",
            name=f"job-{uid}",
            generation=1,
            target=agent_pb2.Target(everything=not names, cgroups=names),
            trackers=trackers or [opens],
            budget=agent_pb2.Budget(events_per_second=rate, memory_bytes=memory),
            **fields,
        )

    return make


@pytest.fixture
def make_cgroup() -> Iterator[Callable[[str], Path]]:
    """Make cgroups that go away with the test."""
    root = find_root(Path("/proc/self/mountinfo").read_text())
    if root is None:
        pytest.skip("there is no cgroup v2 tree")
    made: list[Path] = []

    def make(name: str) -> Path:
        path = root / f"eunomia-test-{os.getpid()}-{name}"
        path.mkdir()
        made.append(path)
        return path

    yield make
    for path in made:
        remove(path)


def remove(cgroup: Path) -> None:
    """Remove a cgroup, as soon as its last process is really gone."""
    for attempt in range(100):
        try:
            cgroup.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.02)


class Inside:
    """What a process holds in the kernel: ids of its programs, maps and links."""

    KINDS = ("prog", "map", "link")

    def __init__(self, pid: int) -> None:
        self.ids: dict[str, set[int]] = {kind: set() for kind in self.KINDS}
        for fd in Path(f"/proc/{pid}/fdinfo").iterdir():
            with suppress(OSError):
                for kind, number in re.findall(
                    r"^(prog|map|link)_id:\s+(\d+)", fd.read_text(), re.MULTILINE
                ):
                    self.ids[kind].add(int(number))

    def left(self, seconds: float = 10) -> dict[str, set[int]]:
        """Those of them that the kernel still has, when it was given time to let go of them."""
        deadline = time.monotonic() + seconds
        while True:
            left = {kind: ids & set(_ids(kind)) for kind, ids in self.ids.items()}
            left = {kind: ids for kind, ids in left.items() if ids}
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)


def _ids(kind: str) -> Iterator[int]:
    """Ids of all that the kernel has, whoever made it: bpftool(8) lists the same."""
    following = getattr(library(), f"bpf_{kind}_get_next_id")
    number = ctypes.c_uint32(0)
    while following(number, ctypes.byref(number)) == 0:
        yield number.value


@pytest.fixture
def inside() -> Callable[[int], Inside]:
    return Inside


@pytest.fixture
def resident() -> Callable[[], int]:
    """Bytes of this process's resident memory."""

    def read() -> int:
        text = Path("/proc/self/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024

    return read
