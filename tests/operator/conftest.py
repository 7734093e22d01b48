# SPDX-License-Identifier: Apache-2.0
"""Tokens, and a simulated agent."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest

from eunomia_api import agent_pb2, agent_pb2_grpc
from eunomia_operator.settings import Settings


@pytest.fixture
def settings() -> Settings:
    return Settings(
        namespace="eunomia",
        identity="one",
        grpc_address="127.0.0.1:0",
        http_address="127.0.0.1:0",
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
