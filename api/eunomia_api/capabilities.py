# SPDX-License-Identifier: Apache-2.0
"""The least capabilities that containers of one name need, out of what was asked for. Pure.

Names are those of capabilities(7), with CAP_; a securityContext has them without.
"""

from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True, slots=True)
class Difference:
    """From what a container has to what it needs. In order.

    dropped: what it loses. lacking: what was granted to it at some time and it has no more.
    """

    dropped: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


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


def held(security_context: Mapping[str, Any], every: Iterable[str]) -> frozenset[str]:
    """Return what a container holds whose securityContext this is, run as root.

    every: all capabilities of the kernel, which a privileged container has. What is not understood
    counts as not said. Names may stand with CAP_ and in small letters: runtimes take them so.
    """
    if security_context.get("privileged") is True:
        return frozenset(every)
    said = security_context.get("capabilities")
    said = said if isinstance(said, Mapping) else {}
    added, dropped = _names(said.get("add")), _names(said.get("drop"))
    base = frozenset[str]() if "CAP_ALL" in dropped else DEFAULT - dropped
    return base | (frozenset(every) - dropped if "CAP_ALL" in added else added)


def difference(
    security_context: Mapping[str, Any], needed: Recommendation, every: Iterable[str]
) -> Difference:
    """Return what the recommendation changes for a container."""
    has, used = held(security_context, every), frozenset(needed.used)
    return Difference(tuple(sorted(has - used)), tuple(sorted(used - has)))


def refused(reports: Iterable[agent_pb2.Learned], add: Iterable[str]) -> tuple[str, ...]:
    """Return what was granted, and would not be under a securityContext that adds only these."""
    allowed = _names(list(add))
    return tuple(name for name in recommend(reports).used if name not in allowed)


def _names(said: Any) -> frozenset[str]:
    if not isinstance(said, list):
        return frozenset()
    upper = (each.upper() for each in said if isinstance(each, str))
    return frozenset(name if name.startswith("CAP_") else f"CAP_{name}" for name in upper)
