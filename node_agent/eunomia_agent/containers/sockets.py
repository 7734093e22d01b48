# SPDX-License-Identifier: Apache-2.0
"""The container runtimes of this host, by the sockets on which they listen."""

from pathlib import Path

from eunomia_agent.containers.runtime import Runtime, Runtimes

CRI = (
    "run/containerd/containerd.sock",
    "run/k3s/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/cri-dockerd.sock",
)
"""Where runtimes of pods listen, in the order in which the kubelet's documentation names them."""
DOCKER = ("run/docker.sock", "run/podman/podman.sock")
"""Where engines listen that speak Docker's API. Those of users without rights are left out: what
listens there is in the hands of that user, who could say that any container is his own.
"""


def open_runtime(
    *, cri: Path | None = None, docker: Path | None = None, root: Path = Path("/")
) -> Runtime | None:
    """Return whom to ask about this host's containers, all of them at once; None if there is none.

    cri, docker: sockets that a person named; where one is, the usual places are not looked at.
    Pods are asked for first: cri-dockerd knows more of them than Docker does. Make it inside a
    running loop.
    """
    named = cri is not None or docker is not None
    runtimes: list[Runtime] = []
    for socket in [cri] if cri else [] if named else find(CRI, root):
        from eunomia_agent.containers.cri import CriClient  # noqa: PLC0415  (gRPC takes 20 MiB)

        runtimes.append(CriClient(socket))
    for socket in [docker] if docker else [] if named else find(DOCKER, root):
        from eunomia_agent.containers.docker import DockerClient  # noqa: PLC0415

        runtimes.append(DockerClient(socket))
    if len(runtimes) > 1:
        return Runtimes(runtimes)
    return runtimes[0] if runtimes else None


def find(places: tuple[str, ...], root: Path) -> list[Path]:
    """Return the usual sockets that are there and may be looked at, in their order."""
    return [root / place for place in places if _is_socket(root / place)]


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except PermissionError:
        return False
