# SPDX-License-Identifier: Apache-2.0
"""One agent's stream, from its first message to its end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import grpc
import grpc.aio

from eunomia_api import agent_pb2
from eunomia_operator import VERSION
from eunomia_operator.agents.access import Identity, check_same
from eunomia_operator.errors import AccessDenied, ClusterError

logger = logging.getLogger("eunomia.dispatch")

PROTOCOL = 1
HELLO_SECONDS = 30.0

Context = grpc.aio.ServicerContext[agent_pb2.FromAgent, bytes]
Review = Callable[[str], Awaitable[Identity]]


class Office(Protocol):
    """Who is asked and told while agents are connected."""

    def node_uid(self, node: str) -> str:
        """Return the uid of a Node object; empty when there is none."""
        ...

    def desired_state(self, node: str) -> bytes | None:
        """Return the serialised message for a node; None when the node is not known."""
        ...

    def report_interval(self) -> float:
        """Return the shortest time between two reports of counters, in seconds."""
        ...

    def hear(self, node: str, report: agent_pb2.Report) -> None:
        """Take in a report of a node."""
        ...

    def take_alerts(
        self, node: str, alerts: agent_pb2.Alerts, answer: Callable[[int], None]
    ) -> None:
        """Take in alerts of a node.

        answer: called with a sequence number once all alerts up to it are written down.
        """
        ...


class Ended(Exception):
    """The stream is over."""

    def __init__(self, code: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.code = code


class Session:
    """One stream whose agent has shown who it is."""

    __slots__ = ("_context", "_ending", "_office", "_pending", "_review", "_sending", "_taken",
                 "_task", "acknowledged", "identity", "node_uid")  # fmt: skip

    def __init__(
        self, identity: Identity, context: Context, office: Office, review: Review
    ) -> None:
        self.identity = identity
        self.node_uid = ""
        """The uid of the Node object that the agent was told."""
        self.acknowledged = 0
        """The generation that the agent took in last."""
        self._context = context
        self._office = office
        self._review = review
        self._pending: bytes | None = None
        self._taken = 0
        self._sending: asyncio.Task[None] | None = None
        self._ending: Ended | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def node(self) -> str:
        """The name of the node, from the token."""
        return self.identity.node

    async def welcome(self) -> None:
        """Hear the agent's hello and tell it which node it is. Raises Ended."""
        self._task = asyncio.current_task()
        async with self._until(time.time() + HELLO_SECONDS, "no hello came"):
            first = await self._read()
        if first.WhichOneof("body") != "hello" or first.hello.protocol < PROTOCOL:
            raise Ended(grpc.StatusCode.INVALID_ARGUMENT, "begin with a hello of protocol 1")
        self.node_uid = self._office.node_uid(self.node) or self.identity.node_uid
        welcome = agent_pb2.Welcome(
            protocol=PROTOCOL,
            operator_version=VERSION,
            node=self.node,
            node_uid=self.node_uid,
            report_interval_ms=int(self._office.report_interval() * 1000),
        )
        await self._context.write(agent_pb2.ToAgent(welcome=welcome).SerializeToString())

    async def listen(self) -> None:
        """Take in what the agent says until the stream is over. Raises Ended."""
        while True:
            async with self._until(self.identity.expires, "the token has run out"):
                message = await self._read()
            match message.WhichOneof("body"):
                case "report":
                    self._hear(message.report)
                case "alerts":
                    self._check_node_object()
                    self._office.take_alerts(self.node, message.alerts, self.answer)
                case "acknowledgement":
                    self.acknowledged = message.acknowledgement.generation
                case "token":
                    await self._renew(message.token.token)
                case _:
                    # A newer agent may say what this release does not know.
                    pass

    def send(self, message: bytes) -> None:
        """Send a desired state; one that was not sent yet is given up for it."""
        self._pending = message
        self._begin_to_send()

    def answer(self, sequence: int) -> None:
        """Tell the agent that its alerts up to a sequence number are written down."""
        self._taken = max(self._taken, sequence)
        self._begin_to_send()

    def end(self, code: grpc.StatusCode, why: str) -> None:
        """Make the stream end."""
        self._ending = Ended(code, why)
        if self._task is not None:
            self._task.cancel()

    def ending(self) -> Ended | None:
        """Return why `end` was called, if it was."""
        return self._ending

    def close(self) -> None:
        """Send nothing more."""
        if self._sending is not None:
            self._sending.cancel()

    def _begin_to_send(self) -> None:
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._pending is not None or self._taken:
                message, self._pending = self._pending, None
                if message is None:
                    taken = agent_pb2.AlertsTaken(sequence=self._taken)
                    message = agent_pb2.ToAgent(alerts_taken=taken).SerializeToString()
                    self._taken = 0
                await self._context.write(message)
        except Exception as error:
            # grpc.aio has no one error for a stream that ended: listen() learns of it, and why.
            logger.debug("node %s is gone while it was written to: %s", self.node, error)
        finally:
            self._sending = None

    async def _read(self) -> agent_pb2.FromAgent:
        message: Any = await self._context.read()
        if isinstance(message, agent_pb2.FromAgent):
            return message
        raise Ended(grpc.StatusCode.OK, "the agent left")

    def _until(self, moment: float, why: str) -> "_Limit":
        return _Limit(moment - time.time(), why)

    def _hear(self, report: agent_pb2.Report) -> None:
        if report.node != self.node:
            raise Ended(
                grpc.StatusCode.PERMISSION_DENIED,
                f"a report for node {report.node[:253]!r} on the stream of node {self.node!r}",
            )
        self._check_node_object()
        self._office.hear(self.node, report)

    def _check_node_object(self) -> None:
        current = self._office.node_uid(self.node)
        if current and current != self.node_uid:
            raise Ended(grpc.StatusCode.UNAVAILABLE, "the Node object is another one: dial again")

    async def _renew(self, token: str) -> None:
        """Go on with a fresh token. Raises Ended.

        While the API server is away to review it, the stream lives on the present one.
        """
        wait = 1.0
        async with self._until(self.identity.expires, "the token has run out"):
            while True:
                try:
                    fresh = await self._review(token)
                    check_same(self.identity, fresh)
                except AccessDenied as denied:
                    raise Ended(grpc.StatusCode.PERMISSION_DENIED, str(denied)) from None
                except ClusterError as error:
                    logger.warning("node %s: the token waits to be reviewed: %s", self.node, error)
                    await asyncio.sleep(wait)
                    wait = min(10.0, 2 * wait)
                else:
                    self.identity = fresh
                    return


class _Limit:
    """A time limit that ends the stream."""

    def __init__(self, seconds: float, why: str) -> None:
        self._timeout = asyncio.timeout(max(0.0, seconds))
        self._why = why

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)  # type: ignore[arg-type]
        except TimeoutError:
            raise Ended(grpc.StatusCode.UNAUTHENTICATED, self._why) from None
