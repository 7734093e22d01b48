# SPDX-License-Identifier: Apache-2.0
"""The agent's one stream with the operator.

The agent dials; every address that refuses is passed over (only the leader listens), and a stream
that ends is dialled again, within five seconds at most.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from eunomia_agent.settings import Settings
from eunomia_api import agent_pb2, agent_pb2_grpc

logger = logging.getLogger("eunomia.session")

LONGEST_BACKOFF_SECONDS = 5.0
TOKEN_LOOK_SECONDS = 20.0
OPTIONS = (
    ("grpc.lb_policy_name", "pick_first"),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)

Stream = grpc.aio.StreamStreamCall[agent_pb2.FromAgent, agent_pb2.ToAgent]


@dataclass(frozen=True, slots=True)
class Heard:
    """A desired state, and the node that the operator takes this agent's to be."""

    desired_state: agent_pb2.DesiredState
    node_uid: str


class Session:
    """Keeps one stream up, for as long as `run` runs."""

    def __init__(
        self,
        settings: Settings,
        hello: Callable[[], agent_pb2.Hello],
        on_desired_state: Callable[[Heard], None],
        on_stream: Callable[[], None],
        on_alerts_taken: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare a session.

        on_desired_state, on_stream (a new stream is up: it has heard no report yet) and
        on_alerts_taken (all alerts up to a number) are called on the loop and must not block.
        """
        self._settings = settings
        self._hello = hello
        self._on_desired_state = on_desired_state
        self._on_stream = on_stream
        self._on_alerts_taken = on_alerts_taken
        self._outbox: asyncio.Queue[agent_pb2.FromAgent] | None = None
        self.report_interval = 1.0
        """Shortest time between two reports of changed counters, in seconds, as told."""

    @property
    def connected(self) -> bool:
        """Whether the operator has welcomed this agent on the present stream."""
        return self._outbox is not None

    def send(self, message: agent_pb2.FromAgent) -> bool:
        """Queue a message. Returns False when no stream is up, or it does not keep up."""
        if self._outbox is None:
            return False
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self) -> None:
        """Dial, talk, and dial again, until cancelled."""
        backoff = 0.0
        while True:
            try:
                await self._talk()
                backoff = 0.0
            except grpc.aio.AioRpcError as error:
                backoff = min(max(0.5, backoff * 2), LONGEST_BACKOFF_SECONDS)
                logger.warning(
                    "no stream with %s: %s %s",
                    self._settings.operator,
                    error.code().name,
                    error.details(),
                )
            except OSError as error:
                backoff = LONGEST_BACKOFF_SECONDS
                logger.warning("cannot dial the operator: %s: %s", error.filename, error.strerror)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311

    async def _talk(self) -> None:
        token = await asyncio.to_thread(_read_token, self._settings.token_file)
        authority = await asyncio.to_thread(self._settings.ca_file.read_bytes)
        if not authority:
            raise OSError(0, "is empty; the operator fills it in", str(self._settings.ca_file))
        credentials = grpc.ssl_channel_credentials(authority)
        async with grpc.aio.secure_channel(
            self._settings.operator, credentials, options=OPTIONS
        ) as channel:
            stub = agent_pb2_grpc.AgentsStub(channel)
            stream: Stream = stub.Connect(metadata=(("authorization", f"Bearer {token}"),))
            outbox: asyncio.Queue[agent_pb2.FromAgent] = asyncio.Queue(maxsize=1024)
            outbox.put_nowait(agent_pb2.FromAgent(hello=self._hello()))
            tasks = [
                asyncio.create_task(_write(stream, outbox)),
                asyncio.create_task(_refresh_token(outbox, self._settings.token_file, token)),
                asyncio.create_task(self._listen(stream, outbox)),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._outbox = None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                stream.cancel()

    async def _listen(self, stream: Stream, outbox: "asyncio.Queue[agent_pb2.FromAgent]") -> None:
        node_uid = ""
        async for message in _messages(stream):
            body = message.WhichOneof("body")
            if body == "welcome":
                node_uid = message.welcome.node_uid
                self.report_interval = max(0.1, message.welcome.report_interval_ms / 1000)
                logger.info("welcomed as node %s", message.welcome.node)
                self._outbox = outbox
                self._on_stream()
            elif body == "desired_state" and self._outbox is not None:
                self._on_desired_state(Heard(message.desired_state, node_uid))
            elif body == "alerts_taken":
                self._on_alerts_taken(message.alerts_taken.sequence)


async def _messages(stream: Stream) -> AsyncIterator[agent_pb2.ToAgent]:
    while True:
        message = await stream.read()
        if not isinstance(message, agent_pb2.ToAgent):
            return
        yield message


async def _write(stream: Stream, outbox: "asyncio.Queue[agent_pb2.FromAgent]") -> None:
    try:
        while True:
            await stream.write(await outbox.get())
    except asyncio.InvalidStateError:
        # The stream has ended meanwhile; the listener tells why.
        await asyncio.Event().wait()


async def _refresh_token(
    outbox: "asyncio.Queue[agent_pb2.FromAgent]", file: Path, last: str
) -> None:
    """Send each fresh token that the kubelet writes: it does so at 80 % of a token's life."""
    while True:
        await asyncio.sleep(TOKEN_LOOK_SECONDS)
        token = await asyncio.to_thread(_read_token, file)
        if token != last:
            await outbox.put(agent_pb2.FromAgent(token=agent_pb2.Token(token=token)))
            last = token


def _read_token(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()
