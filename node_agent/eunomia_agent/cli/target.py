# SPDX-License-Identifier: Apache-2.0
"""Whom a command line means, as the target of a job."""

import os
from collections.abc import Sequence
from pathlib import Path

from eunomia_agent.cli.errors import CommandError
from eunomia_agent.containers.lookup import find
from eunomia_agent.containers.runtime import Container, Runtime
from eunomia_agent.events.render import decoded
from eunomia_api import agent_pb2


async def target(
    names: Sequence[str],
    pids: Sequence[int],
    *,
    children: bool,
    runtime: Runtime | None,
    cgroups: Sequence[str] = (),
) -> agent_pb2.Target:
    """Return the target of some containers and cgroups; of everything where none is named.

    Of these, only some processes, where pids are given. cgroups: paths from the root of the
    hierarchy. Raises ContainerUnknown, RuntimeUnavailable.
    """
    if names:
        known = await runtime.containers() if runtime is not None else []
        wanted = of_containers(names, known)
    else:
        wanted = agent_pb2.Target(everything=not cgroups)
    wanted.cgroups.extend(cgroups)
    wanted.pids.extend(pids)
    wanted.children = children
    return wanted


def cgroup_path(written: Path, root: Path | None) -> str:
    """Return the path of a cgroup from the root of the hierarchy, as owners have it.

    written: such a path, or the cgroup's folder. root: where the hierarchy is mounted. Raises
    CommandError where there is no such cgroup.
    """
    if root is None:
        raise CommandError(
            "--cgroup: no hierarchy of cgroups is mounted here; "
            "mount one (mount -t cgroup2 none /sys/fs/cgroup)"
        )
    below = Path(os.path.relpath(written, root)) if written.is_relative_to(root) else written
    path = Path(os.path.normpath(Path("/") / below))
    folder = root / path.relative_to("/")
    if not folder.is_dir():
        raise CommandError(
            f"--cgroup: there is no cgroup {decoded(os.fsencode(written))}: {root} has no folder "
            f"{decoded(os.fsencode(path.relative_to('/')))}"
        )
    return decoded(os.fsencode(path))


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
