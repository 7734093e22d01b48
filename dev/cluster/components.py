# SPDX-License-Identifier: Apache-2.0
"""All components by name, in the order of their start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dev.cluster import binaries, controlplane, node
from dev.cluster.component import Component, process
from dev.errors import MachineUnfit

MAKERS: dict[str, Callable[[], Component]] = {
    "etcd": controlplane.etcd,
    "containerd": node.containerd,
    "kube-apiserver": lambda: controlplane.apiserver(binaries.folder(binaries.KUBERNETES)),
    "kube-controller-manager": lambda: controlplane.controller_manager(
        binaries.folder(binaries.KUBERNETES)
    ),
    "kube-scheduler": lambda: controlplane.scheduler(binaries.folder(binaries.KUBERNETES)),
    "kubelet": lambda: node.kubelet(binaries.folder(binaries.KUBERNETES)),
    "kube-proxy": lambda: node.proxy(binaries.folder(binaries.KUBERNETES)),
}
ORDER = tuple(MAKERS)


@dataclass(frozen=True)
class Health:
    """How one component is: its pid while it runs, and whether its probe answers."""

    name: str
    pid: int | None
    ready: bool


def component(name: str) -> Component:
    """A component, its configuration written; MachineUnfit for a name that is none."""
    if name not in MAKERS:
        raise MachineUnfit(f"no component is called {name!r}: there are {', '.join(ORDER)}")
    return MAKERS[name]()


def health() -> list[Health]:
    """How every component is right now."""
    lines: list[Health] = []
    for name in ORDER:
        pid = process(name).pid()
        lines.append(Health(name, pid, pid is not None and component(name).probe()))
    return lines
