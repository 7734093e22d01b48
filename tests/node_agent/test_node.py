# SPDX-License-Identifier: Apache-2.0
"""A whole agent beside an operator that stands for the real one."""

import asyncio
import hashlib
import os
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from eunomia_agent import node
from eunomia_agent.settings import Settings
from eunomia_agent.state import Store
from eunomia_api import agent_pb2, agent_pb2_grpc

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
PROFILE = b'{"defaultAction": "SCMP_ACT_ERRNO"}'
FILE = agent_pb2.SeccompFile(
    path="eunomia/shop/web.json", content=PROFILE, sha256=hashlib.sha256(PROFILE).hexdigest()
)


class Operator(agent_pb2_grpc.AgentsServicer):
    """Sends one desired state, and takes alerts in once it is told to."""

    def __init__(self, wanted: agent_pb2.DesiredState) -> None:
        self.taking = False
        self.alerts: list[str] = []
        self.reports: list[agent_pb2.Report] = []
        self._wanted = wanted

    async def Connect(  # noqa: N802
        self,
        request_iterator: AsyncIterator[agent_pb2.FromAgent],
        context: "grpc.aio.ServicerContext[agent_pb2.FromAgent, agent_pb2.ToAgent]",
    ) -> AsyncIterator[agent_pb2.ToAgent]:
        yield agent_pb2.ToAgent(
            welcome=agent_pb2.Welcome(protocol=1, node="n1", node_uid="u1", report_interval_ms=100)
        )
        yield agent_pb2.ToAgent(desired_state=self._wanted)
        async for message in request_iterator:
            if message.WhichOneof("body") == "report":
                self.reports.append(message.report)
            for alert in message.alerts.alerts:
                self.alerts.append(alert.message)
                if self.taking:
                    taken = agent_pb2.AlertsTaken(sequence=alert.sequence)
                    yield agent_pb2.ToAgent(alerts_taken=taken)

    def job(self, uid: str) -> agent_pb2.JobReport:
        """Return what was said of a job last."""
        told = [job for report in self.reports for job in report.jobs if job.uid == uid]
        return told[-1] if told else agent_pb2.JobReport()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.05)


@pytest.fixture
def settings(tmp_path: Path, certificate: tuple[bytes, bytes]) -> Settings:
    (tmp_path / "token").write_text("first")
    (tmp_path / "ca.crt").write_bytes(certificate[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return replace(
        Settings.from_environment({"NODE_NAME": "n1"}),
        token_file=tmp_path / "token",
        ca_file=tmp_path / "ca.crt",
        state=tmp_path / "state",
        seccomp_dir=tmp_path / "seccomp",
        metrics_port=port,
    )


async def test_a_policy_is_watched_over_and_its_alerts_outlive_the_agent(
    tmp_path: Path, settings: Settings, certificate: tuple[bytes, bytes]
) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    rule = agent_pb2.Rule(
        name="secret-read",
        severity=agent_pb2.SEVERITY_ALERT,
        trackers=["access"],
        when=f'kind == "open" && path == "{secret}"',
        message="{path}",
    )
    policy = agent_pb2.Job(
        uid="p",
        kind="ClusterSecurityPolicy",
        name="secrets",
        generation=1,
        target=agent_pb2.Target(everything=True),
        trackers=[agent_pb2.Tracker(name="access")],
        rules=[rule],
        budget=agent_pb2.Budget(events_per_second=1000, memory_bytes=8 << 20),
    )
    operator = Operator(agent_pb2.DesiredState(generation=1, jobs=[policy], seccomp_files=[FILE]))
    server = grpc.aio.server()
    agent_pb2_grpc.add_AgentsServicer_to_server(operator, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate]))
    await server.start()
    settings = replace(settings, operator=f"127.0.0.1:{port}")

    agent = asyncio.create_task(node.serve(settings))
    await until(lambda: operator.job("p").state == agent_pb2.JOB_STATE_RUNNING)
    (profile,) = next(r.seccomp_files for r in operator.reports if r.has_seccomp_files)
    assert (profile.sha256, profile.problem) == (FILE.sha256, "")
    assert (tmp_path / "seccomp" / FILE.path).read_bytes() == PROFILE

    secret.read_text()
    await until(lambda: operator.alerts == [str(secret)])
    await until(lambda: operator.job("p").policy.alerts == 1)
    assert await asyncio.to_thread(_served, settings.metrics_port, "readyz") == "ok\n"
    page = await asyncio.to_thread(_served, settings.metrics_port, "metrics")
    assert 'eunomia_security_alerts_total{container="",' in page
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)

    operator.taking = True
    agent = asyncio.create_task(node.serve(settings))
    await until(lambda: operator.alerts == [str(secret)] * 2)
    await until(lambda: operator.job("p").gaps == 1)
    assert operator.job("p").policy.alerts == 1
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)
    await server.stop(None)
    assert Store(settings.state).load_totals()["p"].gaps == 1


def _served(port: int, page: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}") as answer:
        return str(answer.read().decode())


async def test_an_agent_that_never_heard_what_is_wanted_is_not_ready(settings: Settings) -> None:
    agent = asyncio.create_task(node.serve(replace(settings, operator="127.0.0.1:1")))
    async with asyncio.timeout(20):
        while True:
            await asyncio.sleep(0.1)
            with suppress(ConnectionError, urllib.error.URLError):
                if await asyncio.to_thread(_served, settings.metrics_port, "healthz") == "ok\n":
                    break
    with pytest.raises(urllib.error.HTTPError, match="503"):
        await asyncio.to_thread(_served, settings.metrics_port, "readyz")
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)
