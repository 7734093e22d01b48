# SPDX-License-Identifier: Apache-2.0
"""Whom a command line means, as the target of a job."""

from collections.abc import Sequence

from eunomia_agent.containers.lookup import find
from eunomia_agent.containers.runtime import Container, Runtime
from eunomia_api import agent_pb2


async def target(
    names: Sequence[str], pids: Sequence[int], *, children: bool, runtime: Runtime | None
) -> agent_pb2.Target:
    """Return the target of some containers and processes; of everything where none is named.

    Raises ContainerUnknown, RuntimeUnavailable.
    """
    if names:
        known = await runtime.containers() if runtime is not None else []
        wanted = of_containers(names, known)
    else:
        wanted = agent_pb2.Target(everything=True)
    wanted.pids.extend(pids)
    wanted.children = children
    return wanted


def of_containers(names: Sequence[str], known: Sequence[Container]) -> agent_pb2.Target:
    """Return the target of some containers, each by its name, id, pod or NAMESPACE/POD.

    A name stands for those, too, that will have it later, and so does a pod as long as only pods
    are named; beside containers it stands for those that it has now. Raises ContainerUnknown.
    """
    message = agent_pb2.Target(pods=True, all_namespaces=True, namespaces=[""])
    found = [find(known, name) for name in names]
    if all(each.by == "pod" for each in found):
        message.pod_names.extend(names)
        return message
    for name, each in zip(names, found, strict=True):
        if each.by == "name":
            message.containers.append(name)
        else:
            message.container_ids.extend(container.id for container in each.containers)
    return message
