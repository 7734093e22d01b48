# SPDX-License-Identifier: Apache-2.0
"""What the path of a cgroup says about pods and containers. Pure; asks nobody.

Paths seen in the field (ID is 64 hex digits, UID a pod's uid):

    /kubepods/burstable/podUID/ID                     cgroupfs driver; containerd, cri-dockerd, k3s
    /kubepods/besteffort/podUID/crio-ID               cgroupfs driver; CRI-O
    /kubepods.slice/kubepods-podU_I_D.slice/cri-containerd-ID.scope   systemd driver; crio-, docker-
    /system.slice/containerd.service/kubepods-podU_I_D.slice:cri-containerd:ID   drivers that differ
    /docker/ID   /system.slice/docker-ID.scope        Docker without Kubernetes
    /docker/ID/kubelet/kubepods/podUID/ID             a node of kind: containers in a container
    /../../kubepods/podUID/ID                         seen from inside a cgroup namespace

Sources: kubelet's pkg/kubelet/cm (cgroup_manager_linux.go), containerd's pkg/cri and opencontainers
runc's libcontainer/cgroups/systemd, CRI-O's internal/config/cgmgr, cgroup_namespaces(7).
"""

import re
from dataclasses import dataclass

_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
"""A uid from the API server, or the hash that the kubelet gives a static pod."""
_POD = re.compile(rf"(?:.*-)?pod({_UID})(?:\.slice)?")
_CONTAINER = re.compile(r"(?:([a-z][a-z0-9-]*)-)?([0-9a-f]{64})(?:\.scope)?")
_MISMATCHED = re.compile(r"([^:]*):([^:]+):([0-9a-f]{64})")
"""A systemd cgroup name given to the cgroupfs driver, taken literally by it."""


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """A container that a path goes through.

    container_id: 64 hex digits. runtime: as the path spells it ("cri-containerd", "crio", "docker"
    …), often empty. pod_uid: with dashes, empty without Kubernetes.
    """

    container_id: str
    runtime: str = ""
    pod_uid: str = ""


@dataclass(frozen=True, slots=True)
class CgroupPath:
    """What a path goes through.

    containers: outermost first. More than one means containers in a container: which of them the
    local runtime knows, only it can tell. pod_uid: of a pod that no container follows, as for a
    pod's own cgroup.
    """

    containers: tuple[ContainerRef, ...] = ()
    pod_uid: str = ""


HOST = CgroupPath()


def parse(path: str) -> CgroupPath:
    """Read the path of a cgroup, from any root. What is no pod and no container is the host's."""
    containers: list[ContainerRef] = []
    pod_uid = ""
    for name in path.split("/"):
        mismatched = _MISMATCHED.fullmatch(name)
        pod = _POD.fullmatch(mismatched[1] if mismatched else name)
        if pod:
            pod_uid = pod[1].replace("_", "-")
        runtime, container_id = mismatched.group(2, 3) if mismatched else _container(name)
        if container_id:
            containers.append(ContainerRef(container_id, runtime, pod_uid))
            pod_uid = ""
    return CgroupPath(tuple(containers), pod_uid)


def _container(name: str) -> tuple[str, str]:
    found = _CONTAINER.fullmatch(name)
    if not found:
        return "", ""
    runtime, container_id = found[1] or "", found[2]
    if runtime.endswith("conmon"):  # the monitor of a container stands beside it, not in it
        return "", ""
    return runtime, container_id
