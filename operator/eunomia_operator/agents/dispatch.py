# SPDX-License-Identifier: Apache-2.0
"""The gRPC server that agents dial: one stream a node, open only while this replica leads."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc
import grpc.aio

from eunomia_api import agent_pb2
from eunomia_operator.agents import access
from eunomia_operator.agents.access import Identity
from eunomia_operator.agents.session import Context, Ended, Office, Session
from eunomia_operator.certificates import ca
from eunomia_operator.errors import ClusterError, Forbidden, OperatorError, Unauthenticated
from eunomia_operator.metrics import Metrics
from eunomia_operator.settings import Settings

logger = logging.getLogger("eunomia.dispatch")

METHOD = "/eunomia.v1alpha1.Agents/Connect"
REVIEWS_AT_ONCE = 32
OPTIONS = (
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.so_reuseport", 0),
    # TLS buffers of each stream: messages are small, and there are thousands of streams.
    ("grpc.tsi.max_frame_size", 1024),
)

ReviewToken = Callable[[str], Awaitable[Mapping[str, Any]]]


class Dispatch(grpc.GenericRpcHandler):
    """Keeps one session a node."""

    def __init__(
        self, settings: Settings, office: Office, review: ReviewToken, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._office = office
        self._review_token = review
        self._metrics = metrics
        self._reviews = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self._sessions: dict[str, Session] = {}
        self._left: dict[str, float] = {}
        self._server: grpc.aio.Server | None = None

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[agent_pb2.FromAgent, bytes] | None":
        """Return what handles a call. Answers go out as they are: one is shared by many nodes."""
        if handler_call_details.method != METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(
            self._connect,  # pyright: ignore[reportArgumentType]
            request_deserializer=agent_pb2.FromAgent.FromString,
            response_serializer=_as_it_is,
        )

    async def open(self, server_pair: Callable[[], ca.Pair | None]) -> int:
        """Listen; return the port. server_pair: the certificate to serve with at the moment."""
        first = server_pair()
        if first is None:
            raise OperatorError("there is no certificate to serve with")
        served = first

        def changed() -> Any:
            """Return the configuration for a handshake; None: that of the one before."""
            nonlocal served
            current = server_pair()
            if current is None or current == served:
                return None
            served = current
            return _configuration(current)

        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        credentials = grpc.dynamic_ssl_server_credentials(_configuration(first), changed)
        port = self._server.add_secure_port(self._settings.grpc_address, credentials)
        await self._server.start()
        return port

    async def close(self) -> None:
        """End all streams and listen no more."""
        for session in list(self._sessions.values()):
            session.end(grpc.StatusCode.UNAVAILABLE, "this replica leads no more")
        if self._server is not None:
            await self._server.stop(grace=1.0)

    @property
    def nodes(self) -> Iterable[str]:
        """Names of the nodes whose agent is connected."""
        return self._sessions.keys()

    def left_at(self, node: str) -> float | None:
        """Return when the last stream of a node ended, as Unix time."""
        return self._left.get(node)

    def forget(self, node: str) -> None:
        """Forget when a node that is gone left."""
        self._left.pop(node, None)

    def push(self, nodes: Iterable[str]) -> None:
        """Send nodes the desired state that is now theirs."""
        for node in nodes:
            session = self._sessions.get(node)
            if session is not None:
                self._send_state(session)

    def _send_state(self, session: Session) -> None:
        state = self._office.desired_state(session.node)
        if state is not None:
            session.send(state)

    async def _review(self, token: str) -> Identity:
        async with self._reviews:
            review = await self._review_token(token)
        return access.identify(token, review, self._settings)

    async def _connect(self, _: object, context: Context) -> None:
        try:
            identity = await self._identify(context)
            await self._serve(Session(identity, context, self._office, self._review))
        except Ended as ended:
            if ended.code != grpc.StatusCode.OK:
                self._metrics.refusals.labels(ended.code.name).inc()
                logger.warning("stream of %s ended: %s", context.peer(), ended)
                await context.abort(ended.code, str(ended))

    async def _identify(self, context: Context) -> Identity:
        try:
            return await self._review(access.bearer(context.invocation_metadata()))
        except Unauthenticated as denied:
            raise Ended(grpc.StatusCode.UNAUTHENTICATED, str(denied)) from None
        except Forbidden as denied:
            raise Ended(grpc.StatusCode.PERMISSION_DENIED, str(denied)) from None
        except ClusterError as error:
            raise Ended(grpc.StatusCode.UNAVAILABLE, f"cannot review tokens: {error}") from None

    async def _serve(self, session: Session) -> None:
        try:
            await session.welcome()
            self._enter(session)
            self._send_state(session)
            await session.listen()
        except asyncio.CancelledError:
            ending = session.ending()
            if ending is None:
                raise
            raise ending from None
        finally:
            self._leave(session)

    def _enter(self, session: Session) -> None:
        older = self._sessions.get(session.node)
        self._sessions[session.node] = session
        self._metrics.sessions.set(len(self._sessions))
        if older is not None:
            older.end(grpc.StatusCode.ABORTED, "the agent has dialled again")
        logger.info("node %s is connected (pod %s)", session.node, session.identity.pod)

    def _leave(self, session: Session) -> None:
        session.close()
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
            self._left[session.node] = time.time()
            self._metrics.sessions.set(len(self._sessions))
            logger.info("node %s is not connected any more", session.node)


def _as_it_is(message: bytes) -> bytes:
    return message


def _configuration(pair: ca.Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])
