# SPDX-License-Identifier: Apache-2.0
"""A client of the Container Runtime Interface, version 1, over the runtime's unix socket."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from weakref import WeakValueDictionary

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from eunomia_agent.containers import cri_pb2 as cri
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnreadable, RuntimeUnsupported

SOCKETS = (
    "run/containerd/containerd.sock",
    "run/k3s/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/cri-dockerd.sock",
)
"""Where runtimes listen, in the order in which the kubelet's documentation names them."""

MAX_MESSAGE = 16 << 20
"""The kubelet's own bound on an answer."""
MAX_NAME = 253
MAX_LABEL_BYTES = 1 << 20
"""The API server takes no object much larger than this."""

_KUBELET_LABELS = frozenset(
    {
        "io.kubernetes.pod.name",
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.uid",
        "io.kubernetes.container.name",
    }
)
"""Set on the sandbox by the kubelet and by CRI-O: no labels of the pod."""

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

    async def containers(self) -> list[Container]:
        """Return all containers whose sandbox is there, too. Raises RuntimeUnavailable."""
        sandboxes = {sandbox.id: sandbox for sandbox in await self.sandboxes()}
        return [
            read_container(message, sandboxes[message.pod_sandbox_id])
            for message in await self._list_containers("")
            if message.pod_sandbox_id in sandboxes
        ]

    async def sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes. Raises RuntimeUnavailable."""
        return await self._list_sandboxes("")

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
            raise RuntimeUnavailable(
                f"the container runtime at {self._socket} did not answer {method}: {told}"
            ) from error


def read_sandbox(message: cri.PodSandbox) -> Sandbox:
    """Take a sandbox out of a message. What is out of bounds is refused as a whole."""
    metadata = message.metadata
    problem = _too_long(namespace=metadata.namespace, pod=metadata.name, uid=metadata.uid)
    if sum(len(key) + len(value) for key, value in message.labels.items()) > MAX_LABEL_BYTES:
        problem = f"labels of more than {MAX_LABEL_BYTES} bytes"
    if problem:
        return Sandbox(message.id, problem=problem)
    return Sandbox(
        message.id, metadata.namespace, metadata.name, metadata.uid, _pod_labels(message.labels)
    )


def read_container(message: cri.Container, sandbox: Sandbox) -> Container:
    """Take a container out of a message. What is out of bounds is refused as a whole."""
    name = message.metadata.name
    problem = sandbox.problem or _too_long(container=name)
    if problem:
        return Container(message.id, sandbox, problem=problem)
    return Container(message.id, sandbox, name)


def _too_long(**names: str) -> str:
    for what, name in names.items():
        if len(name) > MAX_NAME:
            return f"a name of {what} of {len(name)} characters; at most {MAX_NAME}"
    return ""


def _pod_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(
        {key: value for key, value in labels.items() if key not in _KUBELET_LABELS}
    )


def find_socket(root: Path = Path("/")) -> Path | None:
    """Return the first usual socket of a runtime that is there, or None."""
    for socket in SOCKETS:
        if (root / socket).is_socket():
            return root / socket
    return None
