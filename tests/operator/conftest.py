# SPDX-License-Identifier: Apache-2.0
"""Tokens, a simulated agent, and a leader whose clock only the test moves."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest

from eunomia_api import agent_pb2, agent_pb2_grpc
from eunomia_api.tracker import Catalogue
from eunomia_operator import control as control_module
from eunomia_operator.alerts import desk as desk_module
from eunomia_operator.alerts.alert import Alert
from eunomia_operator.alerts.desk import Desk
from eunomia_operator.control import Control
from eunomia_operator.errors import ClusterError
from eunomia_operator.metrics import Metrics
from eunomia_operator.objects.places import Places
from eunomia_operator.objects.policy import Policy
from eunomia_operator.objects.shelf import Shelf
from eunomia_operator.objects.world import Kind, Reference, Resource
from eunomia_operator.settings import Settings
from eunomia_operator.status.news import News

BEGIN = 1767225600.0
RUNNING = agent_pb2.JOB_STATE_RUNNING


@pytest.fixture
def settings() -> Settings:
    return Settings(
        namespace="eunomia",
        identity="one",
        grpc_address="127.0.0.1:0",
        http_address="127.0.0.1:0",
        webhook_address="127.0.0.1:0",
    )


MakeToken = Callable[..., str]


@pytest.fixture(scope="session")
def make_token() -> MakeToken:
    """A token whose review (see `review_of`) says what it was made with."""

    def make(node: str = "node-a", *, seconds: float = 600, **claims: Any) -> str:
        told = {"node": node, "pod": f"pod-of-{node}", "exp": time.time() + seconds, **claims}
        payload = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
        return f"header.{payload}.signature"

    return make


@pytest.fixture(scope="session")
def review_of() -> Callable[[str], dict[str, Any]]:
    """The `status` of the TokenReview of a token, as the API server writes it."""

    def review(token: str) -> dict[str, Any]:
        parts = token.split(".")
        if len(parts) != 3:
            return {"user": {}, "error": "invalid bearer token"}
        payload = parts[1] + "=" * (-len(parts[1]) % 4)
        told = json.loads(base64.urlsafe_b64decode(payload))
        prefix = "authentication.kubernetes.io/"
        extra = {
            f"{prefix}pod-name": [told["pod"]],
            f"{prefix}pod-uid": [f"uid-of-{told['pod']}"],
            f"{prefix}node-name": [told["node"]],
            f"{prefix}node-uid": [f"uid-of-{told['node']}"],
        }
        account = told.get("account", "system:serviceaccount:eunomia:eunomia-agent")
        return {
            "authenticated": True,
            "audiences": [told.get("audience", "eunomia.dev")],
            "user": {"username": account, "extra": {} if told.get("unbound") else extra},
        }

    return review


@dataclass
class Agent:
    """One agent's stream; what it heard is kept in order."""

    stream: Any
    channel: grpc.aio.Channel
    heard: list[agent_pb2.ToAgent] = field(default_factory=list[agent_pb2.ToAgent])

    async def say(self, **body: Any) -> None:
        await self.stream.write(agent_pb2.FromAgent(**body))

    async def hear(self) -> agent_pb2.ToAgent:
        async with asyncio.timeout(5):
            message = await self.stream.read()
        assert isinstance(message, agent_pb2.ToAgent), await self.end()
        self.heard.append(message)
        return message

    async def hear_jobs(self) -> list[agent_pb2.Job]:
        """Hear desired states until one holds a job."""
        while True:
            message = await self.hear()
            if message.desired_state.jobs:
                return list(message.desired_state.jobs)

    async def report(self, node: str, *jobs: agent_pb2.JobReport) -> None:
        await self.say(report=agent_pb2.Report(node=node, jobs=jobs))

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended, once it has."""
        async with asyncio.timeout(5):
            with suppress(grpc.RpcError):
                while isinstance(await self.stream.read(), agent_pb2.ToAgent):
                    pass
            return await self.stream.code(), await self.stream.details()


Dial = Callable[..., Any]


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Dials an operator as an agent does, over TLS, and says hello."""

    async def dialled(
        port: int, authority: bytes, token: str | None, *, hello: bool = True
    ) -> Agent:
        credentials = grpc.ssl_channel_credentials(authority)
        channel = grpc.aio.secure_channel(f"localhost:{port}", credentials)
        metadata = (("authorization", f"Bearer {token}"),) if token is not None else None
        stream = agent_pb2_grpc.AgentsStub(channel).Connect(metadata=metadata)
        agent = Agent(stream, channel)
        if hello:
            with suppress(grpc.RpcError, asyncio.InvalidStateError):
                await agent.say(hello=agent_pb2.Hello(protocol=1, agent_version="0"))
        return agent

    return dialled  # type: ignore[return-value]


class Streams:
    """Who is connected."""

    def __init__(self, *nodes: str) -> None:
        self.nodes: Iterable[str] = nodes
        self.left: dict[str, float] = {}
        self.pushed: list[set[str]] = []

    def left_at(self, node: str) -> float | None:
        return self.left.get(node)

    def forget(self, node: str) -> None:
        self.left.pop(node, None)

    def push(self, nodes: Iterable[str]) -> None:
        if nodes:
            self.pushed.append(set(nodes))


class Store:
    """The statuses in the API server."""

    def __init__(self) -> None:
        self.statuses: dict[str, dict[str, Any]] = {}
        self.writes: list[tuple[str, Any]] = []
        self.deleted: list[str] = []
        self.away = False

    async def patch_status(self, job: Resource, status: dict[str, Any]) -> None:
        if self.away:
            raise ClusterError("write", "no answer")
        self.statuses[job.name] = status
        self.writes.append((job.name, status.get("phase")))

    async def delete_job(self, job: Resource) -> None:
        self.deleted.append(job.name)


class Reports:
    """The AlertReports in the API server, by policy."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.away = False
        self.refused: dict[str, int] = {}

    async def read_alerts(self, policy: Reference) -> dict[str, Any] | None:
        if self.away:
            raise ClusterError("read", "no answer")
        return self.bodies.get(policy.name)

    async def write_alerts(
        self, policy: Reference, fields: dict[str, object], *, exists: bool
    ) -> None:
        if self.away:
            raise ClusterError("write", "no answer")
        if policy.name in self.refused:
            raise ClusterError("write", "exceeded quota", self.refused[policy.name])
        if exists != (policy.name in self.bodies):
            raise ClusterError("write", "not so", 404 if exists else 409)
        owners = [{"uid": policy.uid}]
        self.bodies[policy.name] = {"metadata": {"ownerReferences": owners}, **fields}
        self.writes.append(policy.name)

    def alerts(self, policy: str) -> list[dict[str, Any]]:
        return list(self.bodies[policy]["alerts"])


class Profiles:
    """The SeccompProfiles in the API server, by name. Each edit of the spec is a generation."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[str, Any]] = {}
        self.away = False
        self.takes_status = True

    async def create_profile(
        self, policy: Reference, key: tuple[str, str], spec: Any
    ) -> dict[str, Any]:
        namespace, name = key
        if self.away or name in self.bodies:
            raise ClusterError("create", "no", 0 if self.away else 409)
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "generation": 1,
            "ownerReferences": [{"kind": policy.kind, "uid": policy.uid}],
        }
        self.bodies[name] = {"metadata": metadata, "spec": spec}
        return self.bodies[name]

    async def replace_profile(self, seen: Resource, spec: dict[str, Any]) -> dict[str, Any]:
        if self.away:
            raise ClusterError("patch", "no answer")
        before = self.bodies[seen.name]
        generation = before["metadata"]["generation"] + 1
        metadata = {**before["metadata"], "generation": generation}
        self.bodies[seen.name] = {**before, "metadata": metadata, "spec": spec}
        return self.bodies[seen.name]

    async def patch_status(self, seen: Resource, status: dict[str, Any]) -> None:
        if self.away or not self.takes_status:
            raise ClusterError("write", "no answer")
        self.bodies[seen.name]["status"] = status


class Pods:
    """The pods in the API server, by namespace and name: each list of containers, by its field."""

    def __init__(self) -> None:
        self.specs: dict[tuple[str, str], Any] = {}
        self.away = False
        self.read: list[tuple[str, str]] = []

    async def read_pod(self, namespace: str, name: str, /) -> dict[str, Any]:
        self.read.append((namespace, name))
        if self.away or (namespace, name) not in self.specs:
            raise ClusterError("get", "no", 0 if self.away else 404)
        lists = self.specs[namespace, name].items()
        return {"spec": {field: [{"name": each} for each in names] for field, names in lists}}


class Cut:
    """What was asked to be cut off the network."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def ask(self, policy: Policy, alert: Alert, _: float) -> None:
        self.asked.append((policy.object.name, alert.reported.pod))


class Story:
    """One leader, its cluster, and a clock that only the test moves."""

    def __init__(self, catalogue: Catalogue, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.catalogue = catalogue
        self.store = store
        self.reports = Reports()
        self.cut = Cut()
        self.profiles = Profiles()
        self.pods = Pods()
        self.now = BEGIN
        monkeypatch.setattr(desk_module.time, "time", lambda: self.now)
        monkeypatch.setattr(control_module.time, "time", lambda: self.now)
        self.lead()

    def lead(self) -> None:
        """A new leader begins, which knows nothing but the objects."""
        self.news: list[tuple[str, str]] = []
        self.told: list[tuple[str, News]] = []
        self.answers: list[tuple[str, int]] = []
        self.streams_of: dict[str, Callable[[int], None]] = {}
        self.metrics = Metrics()
        self.desk = Desk(
            self.reports,
            lambda about, news, _: self.told.append((f"{about.kind} {about.name}", news)),
            self.metrics,
            self.cut,
        )
        self.streams = Streams("node-a", "node-b")
        self.control = Control(
            self.catalogue,
            self.store,
            lambda about, news, _: self.news.append((about.name, news.reason)),
            self.metrics,
            desk=self.desk,
            shelf=Shelf(self.profiles, "eunomia-system"),
            places=Places(self.pods),
        )
        for body in self.profiles.bodies.values():
            self.control.world.see(Kind.SECCOMP_PROFILES, "ADDED", body)
        self.control.begin(self.now)

    def node(self, name: str, event: str = "ADDED", uid: str = "", **labels: str) -> None:
        metadata = {"name": name, "uid": uid or f"uid-{name}", "labels": labels}
        self.control.world.see(Kind.NODES, event, {"metadata": metadata})

    def namespace(self, name: str, **metadata: Any) -> None:
        body = {"metadata": {"name": name, **metadata}}
        self.control.world.see(Kind.NAMESPACES, "MODIFIED", body)

    def job(
        self,
        name: str,
        event: str = "ADDED",
        *,
        generation: int = 1,
        namespace: str = "shop",
        **spec: Any,
    ) -> None:
        written = {"target": {"podSelector": {}}, "trackers": [{"name": "process"}], **spec}
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "generation": generation,
        }
        body = {"metadata": metadata, "spec": written, "status": self.store.statuses.get(name)}
        self.control.world.see(Kind.TRACE_JOBS, event, body)

    def policy(
        self,
        name: str,
        event: str = "ADDED",
        *,
        rules: list[Any] | None = None,
        generation: int = 1,
        namespace: str = "shop",
        nodeSelector: Any = None,  # noqa: N803
        **spec: Any,
    ) -> None:
        """namespace: empty for one of the whole cluster."""
        target = {"podSelector": {}, "nodeSelector": nodeSelector or {}}
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "generation": generation,
        }
        written = {"target": target, "rules": {"custom": rules or []}, **spec}
        body = {"metadata": metadata, "spec": written, "status": self.store.statuses.get(name)}
        kind = Kind.SECURITY_POLICIES if namespace else Kind.CLUSTER_SECURITY_POLICIES
        self.control.world.see(kind, event, body)

    def tell(self, node: str, name: str, part: str = "", **told: Any) -> None:
        """Report of a part of a policy."""
        said: dict[str, Any] = {"generation": 1, "policy": agent_pb2.PolicyReport(), **told}
        report = agent_pb2.JobReport(uid=f"uid-{name}{part}", **said)
        self.control.hear(node, agent_pb2.Report(node=node, jobs=[report]))

    def lay(self, *nodes: str, sha256: str | None = None, problem: str = "") -> None:
        """Nodes write the seccomp profiles that they are told of, and say so."""
        for node in nodes:
            told = [
                agent_pb2.SeccompFileReport(
                    path=file.path,
                    sha256=file.sha256 if sha256 is None else sha256,
                    problem=problem,
                )
                for file in self.files(node)
            ]
            report = agent_pb2.Report(node=node, seccomp_files=told, has_seccomp_files=True)
            self.control.hear(node, report)

    def files(self, node: str) -> list[agent_pb2.SeccompFile]:
        message = self.control.desired_state(node)
        assert message is not None
        return list(agent_pb2.ToAgent.FromString(message).desired_state.seccomp_files)

    def dial(self, node: str) -> None:
        """An agent begins a new stream."""
        self.streams_of[node] = lambda sequence: self.answers.append((node, sequence))

    def alert(self, node: str, *alerts: agent_pb2.Alert) -> None:
        if node not in self.streams_of:
            self.dial(node)
        told = agent_pb2.Alerts(alerts=alerts)
        self.control.take_alerts(node, told, self.streams_of[node])

    def report(self, node: str, job: str, delivered: int, **more: Any) -> None:
        told = {"state": RUNNING, "generation": 1, "pods": 1, **more}
        totals = agent_pb2.Totals(matched=delivered, delivered=delivered)
        report = agent_pb2.JobReport(uid=f"uid-{job}", totals=totals, **told)
        self.control.hear(node, agent_pb2.Report(node=node, jobs=[report]))

    async def look(self, after: float = 0.0) -> None:
        """Pass, let what is to be written be written, and take note of it."""
        self.now += after
        self.control.do_pass(self.streams, self.now)
        for _ in range(20):
            await asyncio.sleep(0)

    def jobs(self, node: str) -> list[agent_pb2.Job]:
        message = self.control.desired_state(node)
        assert message is not None
        return list(agent_pb2.ToAgent.FromString(message).desired_state.jobs)

    def names(self, node: str) -> list[str]:
        return [job.name for job in self.jobs(node)]

    def status(self, name: str) -> Any:
        return self.store.statuses[name]


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass judges all that is new, however slow the machine is."""
    monkeypatch.setattr(control_module, "SLICE_SECONDS", 60.0)


@pytest.fixture
def story(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Story:
    story = Story(catalogue, Store(), monkeypatch)
    story.node("node-a", pool="web")
    story.node("node-b", pool="db")
    return story
