# SPDX-License-Identifier: Apache-2.0
"""The containers of this machine, by any name that a person may give them."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from eunomia_agent.cli.errors import CommandError
from eunomia_agent.containers.runtime import Container, Runtime
from eunomia_agent.containers.target import LEAST_PREFIX
from eunomia_api import agent_pb2

MOST_SHOWN = 12
_PREFIX = re.compile(rf"[0-9a-f]{{{LEAST_PREFIX},64}}")


@asynccontextmanager
async def open_runtime() -> AsyncIterator[Runtime | None]:
    """Give a client of the machine's container runtime; None where no runtime listens."""
    from eunomia_agent.containers.cri import (  # noqa: PLC0415  (gRPC takes 0.1 s)
        CriClient,
        find_socket,
    )

    socket = find_socket()
    client = CriClient(socket) if socket else None
    try:
        yield client
    finally:
        if client is not None:
            await client.close()


async def listed() -> list[Container]:
    """Return all containers. Raises RuntimeUnavailable."""
    async with open_runtime() as runtime:
        return await runtime.containers() if runtime is not None else []


def target(names: Sequence[str], found: Sequence[Container]) -> agent_pb2.Target:
    """Return the target of some containers. Raises CommandError for a name that none has.

    A name of a container or pod stands for those, too, that will have it later; where names of
    containers and pods are mixed, a pod stands for the containers that it has now.
    """
    message = agent_pb2.Target(pods=True, all_namespaces=True, namespaces=[""])
    kinds = [_kind(name, found) for name in names]
    if all(kind is _is_pod for kind in kinds):
        message.pod_names.extend(names)
        return message
    for name, kind in zip(names, kinds, strict=True):
        if kind is _is_name:
            message.containers.append(name)
        elif kind is _is_id:
            message.container_ids.append(name)
        else:
            message.container_ids.extend(each.id for each in found if _is_pod(each, name))
    return message


def _kind(name: str, found: Sequence[Container]) -> Callable[[Container, str], bool]:
    for kind in (_is_name, _is_pod, _is_id):
        if any(kind(each, name) for each in found):
            return kind
    if not found:
        raise CommandError(f"there is no container {name!r}: no container runtime knows of any")
    known = sorted({_full_name(each) for each in found})
    more = f" and {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN else ""
    raise CommandError(
        f"there is no container {name!r}; there are {', '.join(known[:MOST_SHOWN])}{more}"
    )


def _is_name(container: Container, name: str) -> bool:
    return container.name == name


def _is_pod(container: Container, name: str) -> bool:
    sandbox = container.sandbox
    return bool(sandbox.pod) and name in (sandbox.pod, f"{sandbox.namespace}/{sandbox.pod}")


def _is_id(container: Container, name: str) -> bool:
    return bool(_PREFIX.fullmatch(name)) and container.id.startswith(name)


def _full_name(container: Container) -> str:
    sandbox = container.sandbox
    pod = f"{sandbox.namespace}/{sandbox.pod}/" if sandbox.pod else ""
    return f"{pod}{container.name}"
