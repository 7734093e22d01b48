# SPDX-License-Identifier: Apache-2.0
"""Jobs on this machine through all that the agent is, and loads of known size."""

import asyncio
import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from eunomia_agent.cli.local import Local
from eunomia_agent.cli.stop import Stop
from eunomia_agent.containers.owner import Owner
from eunomia_agent.jobs.guards import Guards
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.kernel.libbpf import library
from eunomia_agent.link.spool import Spool
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.metrics.security import Security
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.sinks.sink import Sink
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000  # include/uapi/linux/sched.h
BUDGET = 20_000
"""Events a second and node, as a policy has it that does not say."""
SECRET = agent_pb2.Rule(
    name="secret",
    severity=agent_pb2.SEVERITY_ALERT,
    trackers=["access"],
    when='kind == "open" && path.endsWith("/secret")',
    message="{comm}|{path}",
)
"""Each open of a file of that name."""
SOURCE = Path(__file__).with_name("load.c")


@pytest.fixture(scope="session", autouse=True)
def _tracefs(tracefs: None) -> None:
    """Mounted for all of these tests."""


def ran(process: subprocess.Popen[bytes]) -> float:
    """Return the seconds for which a process had a CPU: proc(5), schedstat's first number."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


class Pace:
    """Time as a busy process has it: the seconds for which it had a CPU.

    Who is judged by it has as long as on a machine of its own, whatever else runs beside the two.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._moments, self._seconds = [time.time()], [ran(process)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        with suppress(FileNotFoundError):  # it was waited for
            while not self._over.wait(0.005):
                self._seconds.append(ran(self._process))
                self._moments.append(time.time())

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def between(self, begun: float, ended: float) -> float:
        """Return how long it was from one moment to another, as Unix times."""
        first = max(0, bisect_right(self._moments, begun) - 1)
        last = min(bisect_left(self._moments, ended), len(self._moments) - 1)
        return self._seconds[last] - self._seconds[first]


@pytest.fixture(name="ran")
def ran_fixture() -> Callable[[subprocess.Popen[bytes]], float]:
    return ran


@pytest.fixture
def pace() -> Iterator[Callable[[subprocess.Popen[bytes]], Pace]]:
    """Begin to look at how a process gets on."""
    begun: list[Pace] = []

    def begin(process: subprocess.Popen[bytes]) -> Pace:
        begun.append(Pace(process))
        return begun[-1]

    yield begin
    for each in begun:
        each.end()


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


def act(cgroup: Path, code: str, *arguments: object) -> int:
    """Run some Python inside a cgroup, to its good end; return its process.

    As in a container its mounts are its own: who runs among the host's is the runtime.
    """

    def enter() -> None:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        assert not libc.unshare(CLONE_NEWNS)

    words = [each if isinstance(each, bytes) else os.fsencode(str(each)) for each in arguments]
    command = [sys.executable, "-S", "-E", "-c", f"import os, sys\n{code}", *words]
    process = subprocess.Popen(command, preexec_fn=enter)  # noqa: PLW1509
    assert process.wait(timeout=60) == 0
    return process.pid


def read(cgroup: Path, path: Path) -> int:
    """Open a file from inside a cgroup; return the process that did."""
    return act(cgroup, "os.close(os.open(sys.argv[1], os.O_RDONLY))", path)


class Told:
    """Puts alerts into the spool, and takes down when each came."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.came: list[tuple[float, agent_pb2.Alert]] = []

    def put(self, alert: agent_pb2.Alert) -> bool:
        room = self.spool.put(alert)
        if room:
            self.came.append((time.time(), alert))
        return room


class Watch:
    """A policy on this machine, and containers that it watches: cgroups, with owners."""

    act = staticmethod(act)
    read = staticmethod(read)

    def __init__(self, machine: Any, job: Any, folder: Path, containers: Sequence[Path]) -> None:
        self.told = Told(Spool(folder))
        self._machine, self._job = machine, job
        self._containers = containers
        self.guards = Guards(Catalogue.load().trackers, self.told, Security("n1"))

    def begin(self, *rules: agent_pb2.Rule, rate: int = BUDGET, **fields: Any) -> None:
        rules = rules or (SECRET,)
        trackers = sorted({name for each in rules for name in each.trackers})
        wanted = self._job(
            "p",
            trackers=[agent_pb2.Tracker(name=name) for name in trackers],
            cgroups=self._containers,
            rules=rules,
            rate=rate,
            **fields,
        )
        self.running = self._machine(wanted, sinks=lambda job: [self.guards.guard(job)])
        self.tracing = self.running._local._tracing
        self.guards.jobs = self.tracing.jobs
        for each in self._containers:
            self.running.call(partial(self.tracing.meet, owner(each)))

    def of(self, container: Path, name: str = "secret") -> list[agent_pb2.Alert]:
        """Alerts of a rule about a container."""
        return [
            each for _, each in self.told.came if each.pod == container.name and each.rule == name
        ]

    def wait(self, until: Callable[[], object]) -> None:
        self.running.wait(until, seconds=30)

    def end(self) -> tuple[Totals, agent_pb2.PolicyReport]:
        """Stop; return what came of it."""
        found = self.running.end().totals["p"]
        return (
            sum(found.trackers.values(), Totals()),
            agent_pb2.PolicyReport.FromString(found.policy),
        )


def owner(cgroup: Path) -> Owner:
    """A container with a cgroup."""
    number = cgroup.stat().st_ino
    return Owner(
        *(number, "container", "shop", cgroup.name, f"uid-{cgroup.name}", "main", f"{number:064x}"),
        path=f"/{cgroup.name}",
    )


@pytest.fixture
def loud(make_cgroup: Callable[[str], Path]) -> Path:
    return make_cgroup("loud")


@pytest.fixture
def quiet(make_cgroup: Callable[[str], Path]) -> Path:
    return make_cgroup("quiet")


@pytest.fixture
def flood(
    loads: Loads, make_cgroup: Callable[[str], Path]
) -> Iterator[Callable[[Path, Path], subprocess.Popen[bytes]]]:
    """Open a file from inside a cgroup again and again, for half a minute at most."""
    running: list[subprocess.Popen[bytes]] = []

    def start(cgroup: Path, path: Path) -> subprocess.Popen[bytes]:
        running.append(loads.start("reads", 10_000_000, path, cgroup=cgroup))
        loads.go(running[-1])
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def watch(machine: Any, job: Any, tmp_path: Path, loud: Path, quiet: Path) -> Iterator[Watch]:
    folder = tmp_path / "state"
    folder.mkdir()
    watch = Watch(machine, job, folder, [loud, quiet])
    yield watch
    watch.told.spool.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("x")
    return path


@pytest.fixture(scope="session")
def secret_rule() -> agent_pb2.Rule:
    return SECRET


def is_ready(port: int) -> bool:
    """Ask an agent as a kubelet does whether what is wanted of it is done."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start an agent whose operator does not answer: it goes on with what it was told last.

    It is given when all of that is at work.
    """
    started: list[subprocess.Popen[bytes]] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def start() -> subprocess.Popen[bytes]:
        told = {
            "NODE_NAME": "n1",
            "EUNOMIA_OPERATOR": "127.0.0.1:9",
            "EUNOMIA_STATE_DIR": str(tmp_path),
            "EUNOMIA_METRICS_PORT": str(port),
        }
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, "-m", "eunomia_agent"]
            started.append(subprocess.Popen(command, env={**os.environ, **told}, stderr=log))
        deadline = time.monotonic() + 30
        while not is_ready(port):
            assert started[-1].poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
