# SPDX-License-Identifier: Apache-2.0
"""The least capabilities that containers of one name need, out of what was asked for. Pure.

Names are those of capabilities(7), with CAP_; a securityContext has them without.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eunomia_api import agent_pb2

PREFIX = "CAP_"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a container has and needs, and what its pod would say. In order.

    used: capabilities that were asked for and granted. denied: asked for, and never granted.
    add: what the securityContext adds after it drops all. bounding: what the container has;
    privileged: whether it is, and keeps all whatever it drops; drop: what it has and loses. None:
    not known.
    """

    used: tuple[str, ...]
    denied: tuple[str, ...]
    add: tuple[str, ...]
    bounding: tuple[str, ...] | None = None
    privileged: bool | None = None

    @property
    def drop(self) -> tuple[str, ...] | None:
        """What the container has now, and does not need."""
        return None if self.bounding is None else dropped(self.bounding, self.add)

    @property
    def security_context(self) -> dict[str, Any]:
        """The container's securityContext: core/v1 SecurityContext of Kubernetes."""
        capabilities: dict[str, list[str]] = {"drop": ["ALL"]}
        if self.add:
            capabilities["add"] = list(self.add)
        if self.privileged:
            return {"privileged": False, "capabilities": capabilities}
        return {"capabilities": capabilities}

    def patch(self, container: str, field: str) -> dict[str, Any]:
        """Return the strategic merge patch of a Deployment, DaemonSet or StatefulSet.

        field: the list of the pod's spec that has the container: containers or initContainers.
        """
        changed = {"name": container, "securityContext": self.security_context}
        return {"spec": {"template": {"spec": {field: [changed]}}}}


def dropped(bounding: Iterable[str], add: Iterable[str]) -> tuple[str, ...]:
    """Return what containers lose that are left what they add, of what they have."""
    names = {name.removeprefix(PREFIX) for name in bounding}
    return tuple(sorted(names.difference(add)))


def recommend(reports: Iterable[agent_pb2.Learned]) -> Recommendation:
    """Return the least that containers of one name need, as all nodes have seen it."""
    granted, asked, given = set[str](), set[str](), list[agent_pb2.Given]()
    for report in reports:
        if report.HasField("given"):
            given.append(report.given)
        for each in report.capabilities:
            asked.add(each.name)
            if each.granted:
                granted.add(each.name)
    known = {name for name in granted if name.startswith(PREFIX)}
    bounding = {name for each in given for name in each.capabilities}
    return Recommendation(
        used=tuple(sorted(granted)),
        denied=tuple(sorted(asked - granted)),
        add=tuple(sorted(name.removeprefix(PREFIX) for name in known)),
        bounding=tuple(sorted(bounding)) if given else None,
        privileged=any(each.privileged for each in given) if given else None,
    )
