# SPDX-License-Identifier: Apache-2.0
"""The least capabilities that containers of one name need, out of what was asked for. Pure.

Names are those of capabilities(7), with CAP_; a securityContext has them without.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eunomia_api import agent_pb2

_DEFAULT = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID
SETPCAP SETUID SYS_CHROOT
"""
DEFAULT = frozenset(f"CAP_{name}" for name in _DEFAULT.split())
"""What runtimes grant a container that says nothing: containerd's oci.defaultUnixCaps."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a container needs, and what its pod would say. In order.

    used: capabilities that were asked for and granted. denied: asked for, and never granted.
    add: what the securityContext adds after it drops all.
    """

    used: tuple[str, ...]
    denied: tuple[str, ...]
    add: tuple[str, ...]

    @property
    def security_context(self) -> dict[str, Any]:
        """The container's securityContext: core/v1 SecurityContext of Kubernetes."""
        capabilities: dict[str, list[str]] = {"drop": ["ALL"]}
        if self.add:
            capabilities["add"] = list(self.add)
        return {"capabilities": capabilities}

    def patch(self, container: str) -> dict[str, Any]:
        """Return the strategic merge patch of a Deployment, DaemonSet or StatefulSet."""
        changed = {"name": container, "securityContext": self.security_context}
        return {"spec": {"template": {"spec": {"containers": [changed]}}}}


def recommend(reports: Iterable[agent_pb2.Learned]) -> Recommendation:
    """Return the least that containers of one name need, as all nodes have seen it."""
    granted, asked = set[str](), set[str]()
    for report in reports:
        for each in report.capabilities:
            asked.add(each.name)
            if each.granted:
                granted.add(each.name)
    known = {name for name in granted if name.startswith("CAP_")}
    return Recommendation(
        used=tuple(sorted(granted)),
        denied=tuple(sorted(asked - granted)),
        add=tuple(sorted(name.removeprefix("CAP_") for name in known)),
    )
