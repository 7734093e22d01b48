# SPDX-License-Identifier: Apache-2.0
"""The cluster as a whole: up, down, one component of it, an image into it.

`up` writes COMPLETE last. State without it, or of another boot, comes from a start that
failed or a machine that crashed, and is cleared before a new start.
"""

from __future__ import annotations

import os
import string
import time
from pathlib import Path

from dev import lock, packages
from dev.cluster import (
    binaries,
    certificates,
    cgroups,
    file,
    kubeconfig,
    layout,
    mounts,
    network,
    teardown,
)
from dev.cluster.component import process
from dev.cluster.components import ORDER, component, health
from dev.cluster.process import BOOT_ID
from dev.command import output
from dev.errors import MachineUnfit
from dev.folders import STATE
from dev.image import static
from dev.progress import say, step

DNS = Path(__file__).resolve().parent / "dns.yaml"
FIRST = ("etcd", "containerd", "kube-apiserver")
"""What others only complain without: each is ready before the next one starts."""


def up() -> None:
    """Bring the cluster up; nothing to do when it is; what has died is started again."""
    _require_root()
    with lock.exclusive("cluster"):
        if complete():
            _repair()
            return
        if STATE.exists() or cgroups.populated():
            say("clearing what an earlier start has left")
            teardown.clear()
        packages.require()
        _start(build())


def down() -> None:
    """Take everything down, whatever state it is in."""
    _require_root()
    with lock.exclusive("cluster"):
        teardown.clear()


def build() -> list[Path]:
    """Build all programs and the images of the cluster that are missing; gives the images."""
    binaries.build(binaries.KUBERNETES)
    coredns = binaries.build(binaries.COREDNS) / "coredns"
    return [
        static.pause(),
        static.program(layout.DNS_IMAGE, coredns),
        static.workload(),
        static.nginx(),
    ]


def stop(name: str) -> None:
    """Stop one component; the rest goes on without it."""
    with lock.exclusive("cluster"):
        _require_complete()
        component(name)
        process(name).stop(patience=5)


def start(name: str) -> None:
    """Start one component and wait until it is ready."""
    with lock.exclusive("cluster"):
        _require_complete()
        _start_one(name)


def load(archive: Path) -> None:
    """Import an image from an OCI or Docker archive into the node's containerd."""
    if not archive.is_file():
        raise MachineUnfit(f"{archive} is not there: it must be an OCI or Docker archive")
    containerd = ("ctr", "--address", str(layout.CONTAINERD_SOCKET), "--namespace", "k8s.io")
    with step(f"loading {archive.name}"):
        output([*containerd, "images", "import", archive])


def load_once(archive: Path) -> None:
    """Import an archive whose name tells its content, unless this cluster has it already."""
    _require_complete()
    mark = layout.LOADED / archive.name
    if not mark.exists():
        load(archive)
        file.write(mark, "")


def kubectl() -> str:
    """The path of a kubectl of the cluster's own version."""
    return str(binaries.build(binaries.KUBERNETES) / "kubectl")


def complete() -> bool:
    """Whether an `up` of this boot came to its end, and no `down` after it."""
    return layout.COMPLETE.exists() and layout.COMPLETE.read_text() == BOOT_ID.read_text()


def _start(images: list[Path]) -> None:
    begun = time.monotonic()
    say("starting the cluster")
    mounts.provide()
    network.up()
    certificates.make()
    kubeconfig.write(layout.KUBECONFIG, "admin")
    layout.BIN.mkdir(parents=True, exist_ok=True)
    (layout.BIN / "kubectl").symlink_to(kubectl())
    cgroup = cgroups.make()
    for name in FIRST:
        component(name).start(cgroup)
        component(name).wait()
        for image in images if name == "containerd" else []:
            load(image)
    for name in ORDER:
        component(name).start(cgroup)
    for name in ORDER:
        component(name).wait()
    _start_dns()
    file.write(layout.COMPLETE, BOOT_ID.read_text())
    say(f"the cluster is up after {time.monotonic() - begun:.0f} s: {layout.KUBECONFIG}")


def _start_dns() -> None:
    text = string.Template(DNS.read_text()).substitute(
        DOMAIN=layout.DOMAIN, IMAGE=layout.DNS_IMAGE, ADDRESS=layout.DNS_ADDRESS
    )
    call = (kubectl(), "--kubeconfig", str(layout.KUBECONFIG))
    with step("waiting for the node and its DNS"):
        output([*call, "apply", "--server-side", "-f", "-"], text=text)
        output([*call, "wait", "--for=create", f"node/{layout.NAME}", "--timeout=60s"])
        output([*call, "wait", "--for=condition=Ready", f"node/{layout.NAME}", "--timeout=60s"])
        rollout = ("rollout", "status", "deployment/coredns", "--timeout=90s")
        output([*call, "--namespace", "kube-system", *rollout])


def _repair() -> None:
    broken = [line.name for line in health() if not line.ready]
    if not broken:
        say(f"the cluster is up already: {layout.KUBECONFIG}")
    for name in broken:
        say(f"starting {name} again")
        _start_one(name)


def _start_one(name: str) -> None:
    component(name).start(cgroups.make())
    component(name).wait()


def _require_complete() -> None:
    if not complete():
        raise MachineUnfit("the cluster is not up: `python -m dev.cluster up` brings it up")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise MachineUnfit("root is needed: the cluster makes cgroups, mounts and bridges")
