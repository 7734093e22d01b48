# SPDX-License-Identifier: Apache-2.0
"""Objects compiled in the test, and jobs with real programs in the real kernel."""

import datetime
import ipaddress
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.targets import Targets
from eunomia_agent.jobs.guards import Guards
from eunomia_agent.jobs.keys import Keys
from eunomia_agent.jobs.lessons import Lessons
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.jobs.tracing import Tracing
from eunomia_agent.kernel.chain import Chain
from eunomia_agent.kernel.object import Object
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.metrics.security import Security
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.loading import Node
from eunomia_agent.trackers.pool import Pool
from eunomia_agent.wanted import is_policy
from eunomia_api import agent_pb2
from eunomia_api.library import Library
from eunomia_api.message import policy_messages
from eunomia_api.policy_acceptance import accept_policy
from eunomia_api.tracker import Catalogue as ApiCatalogue

INCLUDE = Path(__file__).parents[2] / "bpf/include"
ARCHITECTURE = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), "unknown")
HEAD = '#include "kernel.h"\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_tracing.h>\n'
LICENCE = 'char LICENSE[] SEC("license") = "GPL";\n'


@pytest.fixture(scope="session", autouse=True)
def _tracefs(tracefs: None) -> None:
    """Mounted for all of these tests."""


@pytest.fixture
def compile_bpf(tmp_path: Path) -> Callable[[str], Path]:
    """Compile C for the kernel; returns the object's path."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("needs clang to compile BPF programs")

    def compile_source(source: str, *options: str) -> Path:
        path = tmp_path / "test.bpf.c"
        path.write_text(HEAD + source + LICENCE)
        target = path.with_suffix(".o")
        command = [clang, "-O2", "-g", "-target", "bpf", "-mcpu=v3"]
        command += [f"-D__TARGET_ARCH_{ARCHITECTURE}", f"-I{INCLUDE}", *options]
        subprocess.run([*command, "-c", path, "-o", target], check=True)
        return target

    return compile_source


OPEN_MANY = """
import os, sys
prefix, count = sys.argv[1], int(sys.argv[2])
for i in range(count):
    try:
        os.open(f"{prefix}{i}", os.O_RDONLY)
    except FileNotFoundError:
        pass
"""


class ListSink:
    """Keeps rows; refuses what is above a number of them.

    rate: rows of one write; what is above is limited.
    """

    def __init__(self, room: int, rate: int) -> None:
        self.name = "list"
        self.limited = 0
        self.problem: str | None = None
        self.rows: list[dict[str, object]] = []
        self.broken = False
        self._room = room
        self._rate = rate

    def write(self, rows: Rows) -> int:
        if self.broken:
            raise RuntimeError("a sink that breaks its word")
        self.limited = max(0, len(rows) - self._rate)
        taken = list(rows.json())[: max(0, min(self._rate, self._room - len(self.rows)))]
        self.rows += [json.loads(row) for row in taken]
        return len(taken)

    def close(self) -> None:
        """Nothing is open."""


class World:
    """A Tracing over real maps, cgroups of its own, and what the jobs' sinks got."""

    def __init__(self, root: Path, make_cgroup: Callable[..., Path]) -> None:
        self.root = root
        self._make_cgroup = make_cgroup
        self.room = 10**9
        self.rate = 10**9
        self.on_forget: Callable[[agent_pb2.Job], None] = lambda _: None
        self.sinks: dict[str, list[ListSink]] = {}
        self.catalogue = Catalogue.load()
        self.programs = Object.open(OBJECTS / "cgroups.bpf.o")
        self.programs.load()
        self.chain = Chain(OBJECTS / "calls.bpf.o")
        self.observed = Observed(self.catalogue.trackers, "n1")
        self.begin()

    def begin(self, lessons: Lessons | None = None) -> None:
        """Start as a fresh agent does, with nothing loaded and no owner known."""

        def load(key: Key, available: int) -> Instance:
            targets, refused = (self.programs.map(each) for each in ("targets", "refused_calls"))
            node = Node(targets, root=self.root, chain=self.chain, refused=refused)
            tracker = self.catalogue.trackers[key.tracker]
            return Instance.load(OBJECTS, tracker, key, node, available)

        self.tracing = Tracing(
            Pool(load, 64 << 20),
            node="n1",
            use_of=Keys(self.catalogue, OBJECTS).use,
            open_sinks=self._open_sinks,
            observed=self.observed,
            lessons=lessons,
            on_forget=self._forget,
            kubernetes_api="10.213.8.1",
        )
        self.tracing.open(
            Targets(
                *(self.programs.map(name) for name in ("targets", "pending_limit", "pending_count"))
            )
        )

    def _open_sinks(self, job: agent_pb2.Job) -> list[ListSink]:
        sink = ListSink(self.room, self.rate)
        self.sinks.setdefault(job.uid, []).append(sink)
        return [sink]

    def _forget(self, job: agent_pb2.Job) -> None:
        self.on_forget(job)

    def cgroup(self, name: str) -> Path:
        return self._make_cgroup(name)

    def owner(self, cgroup: Path, kind: str = "container", **labels: str) -> Owner:
        if kind in ("pending", "unknown"):
            return Owner(cgroup_id=cgroup.stat().st_ino, kind=kind)  # type: ignore[arg-type]
        return Owner(
            cgroup_id=cgroup.stat().st_ino,
            kind=kind,  # type: ignore[arg-type]
            namespace="shop",
            pod=f"pod-{cgroup.name}",
            pod_uid=f"uid-{cgroup.name}",
            container="main",
            container_id=f"{cgroup.stat().st_ino:064x}",
            labels=labels,
        )

    def opens(self, cgroup: Path, prefix: str, count: int) -> None:
        def enter() -> None:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))

        subprocess.run(
            [sys.executable, "-S", "-E", "-c", OPEN_MANY, prefix, str(count)],
            check=True,
            preexec_fn=enter,
        )

    def apply(self, *jobs: agent_pb2.Job, before: dict[str, JobTotals] | None = None) -> None:
        self.tracing.apply(jobs, before or {}, time.time())

    def total(self, uid: str) -> Totals:
        self.tracing.tick()  # a second reading proves what matched at the first
        standing = self.tracing.tick()
        return sum(standing.totals[uid].trackers.values(), Totals())

    def rows(self, uid: str) -> list[dict[str, object]]:
        return [row for sink in self.sinks[uid] for row in sink.rows]

    def end(self) -> Standing:
        return self.tracing.end()

    def close(self) -> None:
        self.tracing.end()
        self.tracing.shut()
        self.chain.close()
        self.programs.close()


@pytest.fixture
def world(hierarchy: Path, make_cgroup: Callable[..., Path]) -> Iterator[World]:
    world = World(hierarchy, make_cgroup)
    yield world
    world.close()


class Box:
    """Takes alerts."""

    def __init__(self) -> None:
        self.alerts: list[agent_pb2.Alert] = []

    def put(self, alert: agent_pb2.Alert) -> bool:
        self.alerts.append(alert)
        return True


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def guarded(world: Any, box: Box) -> Any:
    """A world whose policies have guards."""
    guards = Guards(world.catalogue.trackers, box, Security("n1"))
    open_list = world._open_sinks

    def open_sinks(job: agent_pb2.Job) -> list[Any]:
        return [*([guards.guard(job)] if is_policy(job) else []), *open_list(job)]

    world._open_sinks = open_sinks
    world.tracing.end()
    world.begin()
    guards.jobs = world.tracing.jobs
    return world


class Policy:
    """A policy on a node, for one of two containers: for `pod`, and not for `other`."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.pod = world.cgroup("pod")
        self.other = world.cgroup("other")
        world.tracing.meet(world.owner(self.pod))

    def apply(self, rules: Mapping[str, object], library: Library, **spec: object) -> None:
        """Bring the node in line with it, as an operator does. library: of built-in rules."""
        spec = {"target": {"podSelector": {}}, "rules": rules, **spec}
        accepted = accept_policy("SecurityPolicy", spec, ApiCatalogue.load(), library)
        assert accepted.problems == ()
        messages = policy_messages(
            accepted,
            uid="p",
            kind="SecurityPolicy",
            namespace="shop",
            name="guard",
            generation=1,
            namespaces=None,
        )
        self.world.apply(*messages)

    def delete(self) -> None:
        """Bring the node in line with its end."""
        self.world.apply()

    def run(self, cgroup: Path, code: str, *arguments: object, user: int = 0) -> list[int]:
        """Return the numbers that some Python prints in a container; it lives to tell them."""

        def enter() -> None:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))
            os.setuid(user)

        command = [sys.executable, "-S", "-E", "-c", code, *map(str, arguments)]
        ended = subprocess.run(command, preexec_fn=enter, check=True, stdout=subprocess.PIPE)
        return [int(line) for line in ended.stdout.split()]

    def reports(self) -> Mapping[str, agent_pb2.JobReport]:
        """What the node's jobs tell, by their uids, when all that happened is counted."""
        self.world.tracing.tick()
        told: Mapping[str, agent_pb2.JobReport] = self.world.tracing.tick().reports
        return told


@pytest.fixture
def policy(guarded: Any) -> Policy:
    return Policy(guarded)


@pytest.fixture
def job() -> Callable[..., agent_pb2.Job]:
    def job(
        uid: str = "a",
        prefix: str = "",
        *,
        memory: int = 8 << 20,
        rate: int = 1_000_000,
        target: agent_pb2.Target | None = None,
        **fields: object,
    ) -> agent_pb2.Job:
        return agent_pb2.Job(
            uid=uid,
            kind="TraceJob",
            namespace="shop",
            name=f"job-{uid}",
            generation=1,
            target=target or agent_pb2.Target(pods=True, namespaces=["shop"]),
            trackers=[
                agent_pb2.Tracker(
                    name="opensnoop",
                    params={"prefix": agent_pb2.Param(text=prefix or f"/none/{uid}-")},
                )
            ],
            budget=agent_pb2.Budget(events_per_second=rate, memory_bytes=memory),
            **fields,  # type: ignore[arg-type]
        )

    return job


@pytest.fixture(scope="session")
def certificate() -> tuple[bytes, bytes]:
    """Key and self-signed certificate for 127.0.0.1, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operator")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's: at most 107 bytes in all, see unix(7)."""
    folder = Path("/tmp") / f"eunomia-{os.getpid()}-{os.urandom(3).hex()}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Dockerd:
    """A real engine with root, state and socket of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "s"
        command = ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec"]
        command += ["--pidfile", folder / "pid", "-H", f"unix://{self.socket}"]
        command += ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--storage-driver", "vfs"], stdout=log, stderr=log
            )

    def docker(self, *words: str, stdin: bytes = b"") -> str:
        command = ["docker", "-H", f"unix://{self.socket}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def dockerd(short_folder: Path) -> Iterator[Dockerd]:
    missing = [name for name in ("dockerd", "docker", "runc") if not shutil.which(name)]
    if os.geteuid() or missing:
        pytest.skip(f"needs root and {', '.join(missing)}: install docker.io")
    dockerd = Dockerd(short_folder)
    until = time.monotonic() + 30
    while not dockerd.socket.exists() and time.monotonic() < until:
        time.sleep(0.05)
    yield dockerd
    for container in dockerd.docker("ps", "-aq").split():
        dockerd.docker("rm", "-f", container)
    dockerd.stop()
