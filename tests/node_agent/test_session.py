# SPDX-License-Identifier: Apache-2.0
"""The session against a real gRPC server with TLS on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from eunomia_agent.link import session as session_module
from eunomia_agent.link.session import Heard, Session
from eunomia_agent.settings import Settings
from eunomia_api import agent_pb2, agent_pb2_grpc


class Operator(agent_pb2_grpc.AgentsServicer):
    """Welcomes every agent, and keeps what it hears."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.heard: asyncio.Queue[agent_pb2.FromAgent] = asyncio.Queue()

    async def Connect(  # noqa: N802
        self,
        request_iterator: AsyncIterator[agent_pb2.FromAgent],
        context: "grpc.aio.ServicerContext[agent_pb2.FromAgent, agent_pb2.ToAgent]",
    ) -> AsyncIterator[agent_pb2.ToAgent]:
        metadata = dict(context.invocation_metadata() or ())
        self.tokens.append(str(metadata["authorization"]))
        yield agent_pb2.ToAgent(
            welcome=agent_pb2.Welcome(protocol=1, node="n1", node_uid="u1", report_interval_ms=500)
        )
        yield agent_pb2.ToAgent(desired_state=agent_pb2.DesiredState(generation=7))
        yield agent_pb2.ToAgent(alerts_taken=agent_pb2.AlertsTaken(sequence=12))
        async for message in request_iterator:
            self.heard.put_nowait(message)

    async def next(self, body: str) -> agent_pb2.FromAgent:
        async with asyncio.timeout(10):
            while True:
                message = await self.heard.get()
                if message.WhichOneof("body") == body:
                    return message


async def listen(
    operator: Operator, certificate: tuple[bytes, bytes], port: int = 0
) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server()
    agent_pb2_grpc.add_AgentsServicer_to_server(operator, server)
    bound = server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([certificate]))
    await server.start()
    return server, bound


@pytest.fixture
def settings(tmp_path: Path, certificate: tuple[bytes, bytes]) -> Settings:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_bytes(certificate[1])
    return replace(
        Settings.from_environment({"NODE_NAME": "n1"}),
        token_file=tmp_path / "token",
        ca_file=tmp_path / "ca.crt",
    )


class Listener:
    def __init__(self) -> None:
        self.states: asyncio.Queue[Heard] = asyncio.Queue()
        self.streams = 0
        self.taken: asyncio.Queue[int] = asyncio.Queue()

    def count_stream(self) -> None:
        self.streams += 1


@pytest.fixture
def connect(settings: Settings) -> Callable[[int, Listener], Session]:
    def connect(port: int, listener: Listener) -> Session:
        return Session(
            replace(settings, operator=f"127.0.0.1:{port}"),
            lambda: agent_pb2.Hello(protocol=1, kernel_release="6.18"),
            listener.states.put_nowait,
            listener.count_stream,
            listener.taken.put_nowait,
        )

    return connect


async def next_state(listener: Listener) -> Heard:
    async with asyncio.timeout(15):
        return await listener.states.get()


async def test_hello_goes_first_and_fresh_tokens_follow(
    certificate: tuple[bytes, bytes],
    connect: Callable[[int, Listener], Session],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "TOKEN_LOOK_SECONDS", 0.05)
    operator, listener = Operator(), Listener()
    server, port = await listen(operator, certificate)
    session = connect(port, listener)
    task = asyncio.create_task(session.run())

    heard = await next_state(listener)
    assert (heard.node_uid, heard.desired_state.generation) == ("u1", 7)
    assert session.connected
    assert session.report_interval == 0.5
    assert operator.tokens == ["Bearer first"]
    assert (await operator.next("hello")).hello.kernel_release == "6.18"
    async with asyncio.timeout(10):
        assert await listener.taken.get() == 12

    settings.token_file.write_text("second\n")
    assert (await operator.next("token")).token.token == "second"

    assert session.send(agent_pb2.FromAgent(report=agent_pb2.Report(node="n1")))
    assert (await operator.next("report")).report.node == "n1"

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not session.connected
    await server.stop(None)


async def test_a_stream_that_ends_is_dialled_again_with_the_token_of_then(
    certificate: tuple[bytes, bytes],
    connect: Callable[[int, Listener], Session],
    settings: Settings,
) -> None:
    operator, listener = Operator(), Listener()
    server, port = await listen(operator, certificate)
    session = connect(port, listener)
    task = asyncio.create_task(session.run())
    await next_state(listener)

    await server.stop(None)
    settings.token_file.write_text("later")
    while session.connected:
        await asyncio.sleep(0.01)
    assert not session.send(agent_pb2.FromAgent(report=agent_pb2.Report(node="n1")))
    server, _ = await listen(operator, certificate, port)
    await next_state(listener)
    assert operator.tokens == ["Bearer first", "Bearer later"]
    assert listener.streams == 2

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await server.stop(None)


async def test_another_authority_is_not_trusted(
    certificate: tuple[bytes, bytes],
    connect: Callable[[int, Listener], Session],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    operator, listener = Operator(), Listener()
    server, port = await listen(operator, certificate)
    settings.ca_file.write_bytes(b"")
    session = connect(port, listener)
    task = asyncio.create_task(session.run())
    async with asyncio.timeout(5):
        while "ca.crt: is empty; the operator fills it in" not in caplog.text:
            await asyncio.sleep(0.01)
    assert operator.tokens == []

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await server.stop(None)
