# SPDX-License-Identifier: Apache-2.0
"""Paths as runtimes, drivers and nestings really make them."""

import pytest

from eunomia_agent.containers.cgroup import HOST, CgroupPath, ContainerRef, parse

C = "1f" * 32
NODE = "ab" * 32
UID = "0f8a6b0e-1c2d-4e3f-8a9b-0123456789ab"
UID_ = UID.replace("-", "_")
STATIC = "0123456789abcdef0123456789abcdef"
"""The kubelet gives a static pod a hash for a uid."""
SLICE = f"kubepods-burstable-pod{UID_}.slice"


def container(runtime: str = "", uid: str = UID) -> CgroupPath:
    return CgroupPath((ContainerRef(C, runtime, uid),))


PATHS = {
    # one container of a pod
    f"/kubepods/burstable/pod{UID}/{C}": container(),
    f"/kubepods/pod{UID}/{C}": container(),
    f"/kubepods/besteffort/pod{STATIC}/{C}": container(uid=STATIC),
    f"/kubepods/besteffort/pod{UID}/crio-{C}": container("crio"),
    f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{C}.scope": container(
        "cri-containerd"
    ),
    f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{C}.scope": container("crio"),
    f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{C}.scope/container": container("crio"),
    f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{STATIC}.slice/"
    f"docker-{C}.scope": container("docker", STATIC),
    # kubelet with the systemd driver, containerd without: the name is taken literally
    f"/system.slice/containerd.service/{SLICE}:cri-containerd:{C}": container("cri-containerd"),
    # k3s, as root and rootless
    f"/k3s/kubepods/besteffort/pod{UID}/{C}": container(),
    f"/user.slice/user-1000.slice/user@1000.service/k3s-rootless.service/kubepods/pod{UID}/{C}": (
        container()
    ),
    # Docker, nerdctl and ctr without Kubernetes
    f"/docker/{C}": container(uid=""),
    f"/system.slice/docker-{C}.scope": container("docker", ""),
    f"/system.slice/nerdctl-{C}.scope": container("nerdctl", ""),
    f"/k8s.io/{C}": container(uid=""),
    # seen from inside a cgroup namespace, and from a mount that is not the tree's root
    f"/../../kubepods/burstable/pod{UID}/{C}": container(),
    f"/../{C}": container(uid=""),
    f"/pod{UID}/{C}": container(),
    # made inside a container
    f"/kubepods/burstable/pod{UID}/{C}/init.scope": container(),
    f"/kubepods/burstable/pod{UID}/{C}/system.slice/ssh.service": container(),
    # a node of kind, which is a container, with containers of its own
    f"/docker/{NODE}/kubelet/kubepods/burstable/pod{UID}/{C}": CgroupPath(
        (ContainerRef(NODE), ContainerRef(C, "", UID))
    ),
    f"/system.slice/docker-{NODE}.scope/kubelet.slice/kubelet-kubepods.slice/"
    f"kubelet-kubepods-pod{UID_}.slice/cri-containerd-{C}.scope": CgroupPath(
        (ContainerRef(NODE, "docker"), ContainerRef(C, "cri-containerd", UID))
    ),
    f"/docker/{NODE}/kubelet/kubepods/burstable/pod{UID}": CgroupPath((ContainerRef(NODE),), UID),
    f"/docker/{NODE}/system.slice/containerd.service": CgroupPath((ContainerRef(NODE),)),
    f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/"
    f"cri-containerd-{C}.scope": container("cri-containerd"),
    # a pod's own, and a monitor that stands in the pod beside the container
    f"/kubepods/burstable/pod{UID}": CgroupPath(pod_uid=UID),
    f"/kubepods.slice/kubepods-burstable.slice/{SLICE}": CgroupPath(pod_uid=UID),
    f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{C}.scope": CgroupPath(pod_uid=UID),
    # the host's
    "/": HOST,
    "": HOST,
    "/init.scope": HOST,
    "/system.slice/ssh.service": HOST,
    "/user.slice/user-0.slice/session-1.scope": HOST,
    "/kubepods": HOST,
    "/kubepods/burstable": HOST,
    "/kubepods.slice/kubepods-besteffort.slice": HOST,
    "/system.slice/containerd.service": HOST,
    "/system.slice/podinfo.service": HOST,
    f"/system.slice/crio-conmon-{C}.scope": HOST,
    f"/system.slice/var-lib-docker-containers-{C}-mounts-shm.mount": HOST,
    f"/docker/{C[:-1]}": HOST,
    f"/docker/{C.upper()}": HOST,
    f"/docker/{C}\n": HOST,
}


@pytest.mark.parametrize("path", PATHS)
def test_path_tells_container_and_pod(path: str) -> None:
    assert parse(path) == PATHS[path]


def test_longest_path_of_the_kernel_is_read_at_once() -> None:
    nested = "/".join(["", C] * 60)
    assert [each.container_id for each in parse(nested).containers] == [C] * 60
    assert parse("/pod" * 1000) == HOST
