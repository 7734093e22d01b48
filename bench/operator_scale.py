# SPDX-License-Identifier: Apache-2.0
"""The operator with thousands of agents: `python bench/operator_scale.py [--agents N] [--jobs N]`.

Three processes: this one; the operator's control loop, gRPC server and TLS, with a stub in the
place of the Kubernetes API; and the simulated agents, a connection each, whose memory and CPU are
not counted. It measures how long a change of one job takes to reach every agent, and what the
operator takes of memory and CPU with all agents connected and reporting.
"""

import argparse
import asyncio
import base64
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from eunomia_api import agent_pb2, agent_pb2_grpc
from eunomia_api.tracker import Catalogue
from eunomia_operator import leader
from eunomia_operator.agents.dispatch import Dispatch
from eunomia_operator.certificates import ca
from eunomia_operator.control import Control
from eunomia_operator.metrics import Metrics
from eunomia_operator.objects.world import Kind
from eunomia_operator.settings import Settings

CHANGES = 3
STEADY_SECONDS = 30
CONNECTING_AT_ONCE = 64
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 << 20))


def main() -> int:
    """Measure and print one JSON object, or play one of the other two processes."""
    parser = argparse.ArgumentParser(description="Measure the operator with many agents.")
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--role", choices=["measure", "operator", "agents"], default="measure")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--authority", default="")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    roles = {"measure": measure, "operator": operate, "agents": simulate}
    asyncio.run(roles[arguments.role](arguments))
    return 0


# The measurement.


async def measure(arguments: argparse.Namespace) -> None:
    """Start the other two, tell them what to do, and print what came of it."""
    operator = await start("operator", arguments)
    served = await told(operator)
    arguments.port, arguments.authority = served["port"], served["authority"]
    rest = memory_mib(operator)
    began = time.monotonic()
    agents = await start("agents", arguments)
    try:
        await told(agents)
        connected = time.monotonic() - began
        changes = [await change(operator, agents) for _ in range(CHANGES)]
        before = cpu_seconds(operator)
        await asyncio.sleep(STEADY_SECONDS)
        busy = (cpu_seconds(operator) - before) / STEADY_SECONDS
        print(
            json.dumps(
                {
                    "agents": arguments.agents,
                    "jobs": arguments.jobs,
                    "connected_seconds": round(connected, 1),
                    "change_reaches_all_seconds": [round(seconds, 2) for seconds in changes],
                    "memory_mib_without_agents": rest,
                    "memory_mib": memory_mib(operator),
                    "memory_mib_peak": memory_mib(operator, "VmHWM"),
                    "memory_mib_of_the_simulated_agents": memory_mib(agents),
                    "cpu_percent_of_a_core": round(busy * 100, 1),
                    "status_writes_a_second": await writes(operator),
                },
                indent=2,
            )
        )
    finally:
        for process in (agents, operator):
            process.kill()
            await process.wait()


async def start(role: str, arguments: argparse.Namespace) -> asyncio.subprocess.Process:
    """Start one of the processes."""
    command = [sys.executable, __file__, "--role", role, "--agents", str(arguments.agents)]
    command += ["--jobs", str(arguments.jobs), "--port", str(arguments.port)]
    command += ["--authority", arguments.authority]
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # As in the manifests: memory that one thread freed serves the others.
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )


async def told(process: asyncio.subprocess.Process) -> Any:
    """Return the next line of a process."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise SystemExit("a process of the benchmark ended early")
    return json.loads(line)


async def tell(process: asyncio.subprocess.Process, word: str) -> None:
    """Send a line to a process."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())
    await process.stdin.drain()


async def change(operator: Any, agents: Any) -> float:
    """Change one job; return the seconds until every agent has been told."""
    await tell(agents, "await")
    await told(agents)
    await tell(operator, "change")
    began = (await told(operator))["at"]
    return float((await told(agents))["at"] - began)


async def writes(operator: Any) -> float:
    """Return the writes of a status a second, over the last stretch."""
    await tell(operator, "writes")
    return float((await told(operator))["a_second"])


def memory_mib(process: asyncio.subprocess.Process, field: str = "VmRSS") -> int:
    """Return the memory of a process in MiB (proc_pid_status(5))."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    raise SystemExit(f"no {field} in /proc/{process.pid}/status")


def cpu_seconds(process: asyncio.subprocess.Process) -> float:
    """Return the CPU time of a process in seconds (proc_pid_stat(5))."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def words() -> AsyncIterator[str]:
    """Yield the lines of standard input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


def answer(**fields: object) -> None:
    """Print one line."""
    print(json.dumps(fields), flush=True)


# The operator.


class Store:
    """Takes statuses and counts them."""

    def __init__(self) -> None:
        self.count = 0
        self.since = time.monotonic()

    async def patch_status(self, job: Any, status: Mapping[str, object]) -> None:
        """Take a status."""
        self.count += 1

    async def delete_job(self, job: Any) -> None:
        """Take note that a job would be deleted."""


async def review(token: str) -> dict[str, Any]:
    """Return the review of a simulated agent's token."""
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    prefix = "authentication.kubernetes.io/"
    return {
        "authenticated": True,
        "audiences": ["eunomia.dev"],
        "user": {
            "username": "system:serviceaccount:eunomia:eunomia-agent",
            "extra": {f"{prefix}node-name": [claims["node"]], f"{prefix}pod-uid": ["pod"]},
        },
    }


def ignore(*_: object) -> None:
    """Take Kubernetes Events to nowhere."""


async def operate(arguments: argparse.Namespace) -> None:
    """Be the operator. `leader` has loaded kopf and kubernetes, for what they take of memory."""
    assert "kopf" in sys.modules, leader
    store, metrics = Store(), Metrics()
    control = Control(Catalogue.load(), store, ignore, metrics)
    control.begin(time.time())
    world = control.world
    nodes = [{"metadata": {"name": node_name(n), "uid": f"{n}"}} for n in range(arguments.agents)]
    world.replace(Kind.NODES, nodes, world.mark())
    world.replace(Kind.TRACE_JOBS, [job(n) for n in range(arguments.jobs)], world.mark())
    settings = Settings("eunomia", "bench", grpc_address="127.0.0.1:0")
    now = datetime.now(UTC)
    authority = ca.make_authority(now)
    pair = ca.issue(authority, ("localhost",), now)
    dispatch = Dispatch(settings, control, review, metrics)
    port = await dispatch.open(lambda: pair)
    loop = asyncio.create_task(control.run(dispatch))
    answer(port=port, authority=authority.certificate.decode())
    generation = 1
    async for word in words():
        if word == "change":
            generation += 1
            answer(at=time.monotonic())
            world.see(Kind.TRACE_JOBS, "MODIFIED", job(0, generation))
            store.count, store.since = 0, time.monotonic()
        else:
            answer(a_second=round(store.count / (time.monotonic() - store.since), 1))
    loop.cancel()


def node_name(number: int) -> str:
    """Return the name of a simulated node."""
    return f"simulated-node-{number:05}"


def job(number: int, generation: int = 1) -> dict[str, Any]:
    """Return a job for every node."""
    name = f"job-{number:03}"
    return {
        "metadata": {"name": name, "namespace": "bench", "uid": name, "generation": generation},
        "spec": {
            "target": {"podSelector": {"matchLabels": {"app": name}}},
            "trackers": [{"name": "opensnoop"}],
            "budget": {"eventsPerSecondPerNode": generation},
        },
    }


# The agents.


class Crowd:
    """All simulated agents."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.number = arguments.agents
        self.address = f"localhost:{arguments.port}"
        self.credentials = grpc.ssl_channel_credentials(arguments.authority.encode())
        self.generations = [0] * self.number
        self.awaited = 0
        self.missing = self.number
        self.all_told = asyncio.Event()
        self.dialling = asyncio.Semaphore(CONNECTING_AT_ONCE)

    def expect(self) -> None:
        """Wait for a generation that no agent has been told yet."""
        self.awaited = max(self.generations) + 1
        self.missing = self.number
        self.all_told.clear()

    def note(self, number: int, generation: int) -> None:
        """An agent was told."""
        if self.generations[number] < self.awaited <= generation or not self.generations[number]:
            self.missing -= 1
            if self.missing == 0:
                self.all_told.set()
        self.generations[number] = generation

    async def agent(self, number: int) -> None:
        """Be one agent: take in desired states, report all jobs at every interval."""
        node = node_name(number)
        claims = json.dumps({"node": node, "exp": time.time() + 3600}).encode()
        token = f"h.{base64.urlsafe_b64encode(claims).decode().strip('=')}.s"
        async with self.dialling:
            channel = grpc.aio.secure_channel(self.address, self.credentials, options=OPTIONS)
            stream: Any = agent_pb2_grpc.AgentsStub(channel).Connect(
                metadata=(("authorization", f"Bearer {token}"),)
            )
            await stream.write(agent_pb2.FromAgent(hello=agent_pb2.Hello(protocol=1)))
            welcome = (await stream.read()).welcome
        jobs: list[agent_pb2.Job] = []
        reports = asyncio.create_task(self.report(stream, node, jobs, welcome.report_interval_ms))
        while True:
            message = await stream.read()
            jobs[:] = message.desired_state.jobs
            self.note(number, message.desired_state.generation)
        await reports

    async def report(
        self, stream: Any, node: str, jobs: list[agent_pb2.Job], interval_ms: int
    ) -> None:
        """Report counters that go up."""
        count = 0
        while True:
            await asyncio.sleep(interval_ms / 1000)
            count += 1000
            totals = agent_pb2.Totals(matched=count, delivered=count)
            told = [
                agent_pb2.JobReport(
                    uid=job.uid,
                    generation=job.generation,
                    state=agent_pb2.JOB_STATE_RUNNING,
                    pods=1,
                    totals=totals,
                )
                for job in jobs
            ]
            report = agent_pb2.Report(node=node, jobs=told)
            await stream.write(agent_pb2.FromAgent(report=report))


async def simulate(arguments: argparse.Namespace) -> None:
    """Be all agents."""
    crowd = Crowd(arguments)
    tasks = [asyncio.create_task(crowd.agent(number)) for number in range(crowd.number)]
    await crowd.all_told.wait()
    answer(at=time.monotonic())
    async for _ in words():
        crowd.expect()
        answer(ready=True)
        await crowd.all_told.wait()
        answer(at=time.monotonic())
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    sys.exit(main())
