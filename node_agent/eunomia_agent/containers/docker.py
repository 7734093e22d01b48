# SPDX-License-Identifier: Apache-2.0
"""A client of the Docker Engine API, which Podman speaks as well, over its unix socket."""

import asyncio
import http.client
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import quote
from weakref import WeakValueDictionary

from eunomia_agent.containers import labels as label
from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.runtime import Container, Identity, Sandbox
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnreadable, RuntimeUnsupported

MAX_ANSWER = 16 << 20
_PIECE = 1 << 18
_REQUEST = "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

TYPE = "io.kubernetes.docker.type"
SANDBOX_ID = "io.kubernetes.sandbox.id"
"""Labels that the kubelet's dockershim, now cri-dockerd, sets: its docker_service.go."""
_NOT_THE_PODS = (TYPE, SANDBOX_ID, "io.kubernetes.container.logpath", "annotation.")
_NOT_THE_USERS = ("com.docker.compose.", "io.podman.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One container of an answer, as far as it is read. name: without its slash."""

    id: str
    name: str
    image: str
    labels: Mapping[str, str]


class DockerClient:
    """A `Runtime` behind the socket of Docker or Podman. A connection a question.

    Containers are asked for by listing, never by inspecting: the engine answers to that only once
    the container has started, and its cgroup is there before.
    socket: path of the unix socket. timeout: seconds for each answer, all of it.
    """

    def __init__(self, socket: str | Path, *, timeout: float = 2.0) -> None:
        self._socket = str(socket)
        self._timeout = timeout
        self._sandboxes = WeakValueDictionary[str, Sandbox]()  # as long as someone holds them

    async def close(self) -> None:
        """Do nothing: no connection outlives its answer."""

    async def identity(self, identity: str) -> Identity | None:
        """Return what has an id, or None. Raises RuntimeUnavailable."""
        held = self._sandboxes.get(identity)
        if held:
            return held
        found = next((each for each in await self._list(identity) if each.id == identity), None)
        if found is None:
            return None
        if _is_sandbox(found):
            return self._sandbox(found)
        sandbox_id = found.labels.get(SANDBOX_ID)
        if not sandbox_id:
            return read_container(found, None)
        sandbox = await self.identity(sandbox_id) if sandbox_id != identity else None
        return read_container(found, sandbox) if isinstance(sandbox, Sandbox) else None

    async def identities(self) -> list[Identity]:
        """Return all containers and sandboxes. Raises RuntimeUnavailable."""
        entries = await self._list("")
        sandboxes = {each.id: self._sandbox(each) for each in entries if _is_sandbox(each)}
        found: list[Identity] = [*sandboxes.values()]
        for each in entries:
            sandbox = sandboxes.get(each.labels.get(SANDBOX_ID, ""))
            if each.id not in sandboxes and (sandbox or SANDBOX_ID not in each.labels):
                found.append(read_container(each, sandbox))
        return found

    async def containers(self) -> list[Container]:
        """Return all containers. Raises RuntimeUnavailable."""
        return [each for each in await self.identities() if isinstance(each, Container)]

    async def confinement(self, container_id: str) -> Confinement | None:
        """Return None: the engine knows the content of a profile, and not its file."""
        return None

    def _sandbox(self, entry: Entry) -> Sandbox:
        return self._sandboxes.setdefault(entry.id, read_sandbox(entry))

    async def _list(self, container_id: str) -> list[Entry]:
        """Return all containers, or those whose id is that, if any is."""
        path = "/containers/json?all=true"
        if container_id:
            path += f"&filters={quote(json.dumps({'id': [container_id]}))}"
        answer = await self._get(path)
        try:
            return read_list(answer)
        except ValueError as error:
            raise RuntimeUnreadable(
                f"the container engine at {self._socket} answered with what cannot be read: {error}"
            ) from error

    async def _get(self, path: str) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                status, body = _parse(await self._exchange(_REQUEST.format(path=path).encode()))
        except TimeoutError as error:
            raise RuntimeUnavailable(
                f"the container engine at {self._socket} did not answer in {self._timeout:g} s"
            ) from error
        except http.client.HTTPException as error:
            raise RuntimeUnavailable(
                f"the container engine at {self._socket} broke off, or does not speak HTTP: "
                f"{error!r:.300}"
            ) from error
        except OSError as error:
            raise RuntimeUnavailable(
                f"the container engine at {self._socket} cannot be asked: {error}"
            ) from error
        if status == http.HTTPStatus.OK:
            return body
        told = f"{status}: {body[:300].decode(errors='replace')}"
        if status in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.BAD_REQUEST):
            raise RuntimeUnsupported(
                f"what listens at {self._socket} does not speak Docker's API ({told})"
            )
        raise RuntimeUnavailable(f"the container engine at {self._socket} answered {told}")

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(request)
            await writer.drain()
            answer = bytearray()
            while piece := await reader.read(_PIECE):
                answer += piece
                if len(answer) > MAX_ANSWER:
                    raise RuntimeUnreadable(
                        f"the container engine at {self._socket} answered with more than "
                        f"{MAX_ANSWER >> 20} MiB"
                    )
            return bytes(answer)
        finally:
            writer.transport.abort()


def read_list(answer: bytes) -> list[Entry]:
    """Read the answer to GET /containers/json. Raises ValueError. Entries without an id are left
    out; what is not text where text belongs is taken for empty.
    """
    try:
        listed = json.loads(answer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(listed, list):
        raise ValueError(f"a list belongs there, and it is a {type(listed).__name__}")
    entries: list[Any] = listed
    return [
        entry for each in entries if isinstance(each, dict) if (entry := _entry(cast(Any, each))).id
    ]


def read_sandbox(entry: Entry) -> Sandbox:
    """Take a pod out of its pause container's labels. Out of bounds is refused as a whole."""
    namespace, pod, uid = (
        entry.labels.get(key, "") for key in (label.POD_NAMESPACE, label.POD_NAME, label.POD_UID)
    )
    problem = label.too_long(namespace=namespace, pod=pod, uid=uid) or _too_much(entry)
    if problem:
        return Sandbox(entry.id, problem=problem)
    return Sandbox(
        entry.id, namespace, pod, uid, label.pod_labels(_without(entry.labels, _NOT_THE_PODS))
    )


def read_container(entry: Entry, sandbox: Sandbox | None) -> Container:
    """Take a container out of an entry. sandbox: its pod; None if it is in none.

    A container that only has the pod's name as a label, as Podman makes it from a pod's YAML, is
    in no pod of Kubernetes.
    """
    name = entry.labels.get(label.CONTAINER_NAME, entry.name) if sandbox else entry.name
    problem = label.too_long(container=name, image=entry.image)
    if sandbox is None:
        problem = problem or _too_much(entry)
        own = MappingProxyType(_without(entry.labels, _NOT_THE_USERS))
        sandbox = Sandbox("", labels=own, problem=problem)
    problem = problem or sandbox.problem
    if problem:
        return Container(entry.id, sandbox, problem=problem)
    return Container(entry.id, sandbox, name, entry.image)


def _parse(answer: bytes) -> tuple[int, bytes]:
    """Return status and body of an HTTP answer. Raises HTTPException."""
    response = http.client.HTTPResponse(cast(Any, _Received(answer)))
    response.begin()
    return response.status, response.read()


class _Received:
    """What the parser takes for a socket, with all that came on it."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def _entry(fields: dict[str, Any]) -> Entry:
    names, labels = fields.get("Names"), fields.get("Labels")
    own = [_text(name).removeprefix("/") for name in names] if isinstance(names, list) else []
    told = labels.items() if isinstance(labels, dict) else ()
    return Entry(
        _text(fields.get("Id")),
        next((name for name in own if "/" not in name), ""),  # others are links to it
        _text(fields.get("Image")),
        {_text(key): _text(value) for key, value in told},
    )


def _text(value: object) -> str:
    """Return text that can be written down: half of a surrogate pair, which JSON lets pass, not."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _is_sandbox(entry: Entry) -> bool:
    return entry.labels.get(TYPE) == "podsandbox"


def _too_much(entry: Entry) -> str:
    if label.label_bytes(entry.labels) > label.MAX_LABEL_BYTES:
        return f"labels of more than {label.MAX_LABEL_BYTES} bytes"
    return ""


def _without(labels: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not key.startswith(prefixes)}
