# SPDX-License-Identifier: Apache-2.0
"""A client of the Container Runtime Interface, version 1, over the runtime's unix socket."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from eunomia_agent.containers import cri_pb2 as cri
from eunomia_agent.containers.confinement import Confinement, confinement_in
from eunomia_agent.containers.labels import MAX_LABEL_BYTES, label_bytes, pod_labels, too_long
from eunomia_agent.containers.runtime import Container, Identity, Sandbox
from eunomia_agent.errors import (
    ContainerAbsent,
    RuntimeUnavailable,
    RuntimeUnreadable,
    RuntimeUnsupported,
)

MAX_MESSAGE = 16 << 20
"""The kubelet's own bound on an answer."""

_CHANNEL_OPTIONS = (
    ("grpc.default_authority", "localhost"),  # not the socket's path, which Go servers refuse
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)

Answer = TypeVar("Answer", bound=Message)


class CriClient:
    """A `Runtime` behind a CRI socket. Connects by itself, again and again.

    socket: path of the unix socket. timeout: seconds for each call. Make it inside a running loop.
    """

    def __init__(self, socket: str | Path, *, timeout: float = 2.0) -> None:
        self._socket = str(socket)
        self._timeout = timeout
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_CHANNEL_OPTIONS)
        self._sandboxes = WeakValueDictionary[str, Sandbox]()  # as long as someone holds them

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def identity(self, identity: str) -> Identity | None:
        """Return the container or sandbox of an id, or None. Raises RuntimeUnavailable."""
        return await self.container(identity) or await self.sandbox(identity)

    async def identities(self) -> list[Identity]:
        """Return all containers whose sandbox is there, and all sandboxes.

        Raises RuntimeUnavailable.
        """
        sandboxes = {sandbox.id: sandbox for sandbox in await self.sandboxes()}
        return [*await self._containers_of(sandboxes), *sandboxes.values()]

    async def containers(self) -> list[Container]:
        """Return all containers whose sandbox is there, too. Raises RuntimeUnavailable."""
        return await self._containers_of(
            {sandbox.id: sandbox for sandbox in await self.sandboxes()}
        )

    async def confinement(self, container_id: str) -> Confinement | None:
        """Return what a container may do. Raises RuntimeUnavailable."""
        try:
            answer = await self._call(
                "ContainerStatus",
                cri.ContainerStatusRequest(container_id=container_id, verbose=True),
                cri.ContainerStatusResponse.FromString,
            )
        except ContainerAbsent:
            return None
        return confinement_in(answer.info.get("info", ""))

    async def container(self, container_id: str) -> Container | None:
        """Return a container with its sandbox, or None. Raises RuntimeUnavailable."""
        listed = await self._list_containers(container_id)
        for message in listed:
            if message.id == container_id:
                sandbox = await self.sandbox(message.pod_sandbox_id)
                if sandbox:
                    return read_container(message, sandbox)
        return None

    async def sandbox(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox, or None. Raises RuntimeUnavailable."""
        held = self._sandboxes.get(sandbox_id)
        if held:
            return held
        for sandbox in await self._list_sandboxes(sandbox_id):
            if sandbox.id == sandbox_id:
                return sandbox
        return None

    async def sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes. Raises RuntimeUnavailable."""
        return await self._list_sandboxes("")

    async def _containers_of(self, sandboxes: Mapping[str, Sandbox]) -> list[Container]:
        return [
            read_container(message, sandboxes[message.pod_sandbox_id])
            for message in await self._list_containers("")
            if message.pod_sandbox_id in sandboxes
        ]

    async def _list_sandboxes(self, sandbox_id: str) -> list[Sandbox]:
        answer = await self._call(
            "ListPodSandbox",
            cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(id=sandbox_id)),
            cri.ListPodSandboxResponse.FromString,
        )
        return [
            self._sandboxes.setdefault(message.id, read_sandbox(message))
            for message in answer.items
        ]

    async def _list_containers(self, container_id: str) -> list[cri.Container]:
        answer = await self._call(
            "ListContainers",
            cri.ListContainersRequest(filter=cri.ContainerFilter(id=container_id)),
            cri.ListContainersResponse.FromString,
        )
        return list(answer.containers)

    async def _call(
        self, method: str, request: Message, decode: Callable[[bytes], Answer]
    ) -> Answer:
        call: grpc.aio.UnaryUnaryMultiCallable[Message, bytes] = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=type(request).SerializeToString,
        )  # not given the decoder: what that cannot read, the channel would make None of
        try:
            return decode(await call(request, timeout=self._timeout))
        except DecodeError as error:
            raise RuntimeUnreadable(
                f"the container runtime at {self._socket} answered {method} with what cannot be "
                f"read: {error}"
            ) from error
        except grpc.aio.AioRpcError as error:
            told = f"{error.code().name}: {(error.details() or '')[:300]}"
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise RuntimeUnsupported(
                    f"{self._socket} does not speak CRI version 1 ({told}): enable the runtime's "
                    "CRI plugin, or name another socket"
                ) from error
            unknown = error.code() is grpc.StatusCode.NOT_FOUND
            raise (ContainerAbsent if unknown else RuntimeUnavailable)(
                f"the container runtime at {self._socket} did not answer {method}: {told}"
            ) from error


def read_sandbox(message: cri.PodSandbox) -> Sandbox:
    """Take a sandbox out of a message. What is out of bounds is refused as a whole."""
    metadata = message.metadata
    problem = too_long(namespace=metadata.namespace, pod=metadata.name, uid=metadata.uid)
    if label_bytes(message.labels) > MAX_LABEL_BYTES:
        problem = f"labels of more than {MAX_LABEL_BYTES} bytes"
    if problem:
        return Sandbox(message.id, problem=problem)
    return Sandbox(
        message.id, metadata.namespace, metadata.name, metadata.uid, pod_labels(message.labels)
    )


def read_container(message: cri.Container, sandbox: Sandbox) -> Container:
    """Take a container out of a message. What is out of bounds is refused as a whole."""
    name = message.metadata.name
    image = message.image.user_specified_image or message.image.image
    problem = sandbox.problem or too_long(container=name, image=image)
    if problem:
        return Container(message.id, sandbox, problem=problem)
    return Container(message.id, sandbox, name, image)
