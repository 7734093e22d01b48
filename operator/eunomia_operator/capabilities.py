# SPDX-License-Identifier: Apache-2.0
"""What a policy's status says of capabilities, out of what the nodes have learned. Pure."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from eunomia_api import agent_pb2, capabilities
from eunomia_api.policystatus import (
    MAX_CONTAINERS,
    CapabilitiesStatus,
    ContainerCapabilities,
)

MOST_NAMES = 64
LONGEST_PATCH = 2048
_NAME = re.compile(r"CAP_[A-Z0-9_]{1,59}|#[0-9]{1,9}")
_CONTAINER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def recommended(learned: Iterable[Sequence[agent_pb2.Learned]]) -> CapabilitiesStatus:
    """Return what the containers asked for, and the least that they need. learned: by node."""
    reports: dict[str, list[agent_pb2.Learned]] = {}
    for node in learned:
        for each in node:
            if _CONTAINER.fullmatch(each.container):
                reports.setdefault(each.container, []).append(_believable(each))
    names = sorted(name for name, told in reports.items() if any(each.runs for each in told))
    return CapabilitiesStatus(
        containers=[_of(name, reports[name]) for name in names[:MAX_CONTAINERS]]
    )


def missing(before: CapabilitiesStatus, after: CapabilitiesStatus) -> Mapping[str, Sequence[str]]:
    """Return, by container, what was recommended to be taken away and is used after all."""
    known = {each.name: frozenset(each.add) for each in before.containers}
    found = {
        each.name: [name for name in each.add if name not in known[each.name]]
        for each in after.containers
        if each.name in known
    }
    return {name: lacking for name, lacking in found.items() if lacking}


def _of(name: str, reports: Sequence[agent_pb2.Learned]) -> ContainerCapabilities:
    needed = capabilities.recommend(reports)
    # What the pods say themselves is not known here: beside containers that say nothing.
    dropped = capabilities.difference({}, needed, ()).dropped
    patch = json.dumps(needed.patch(name), separators=(",", ":"))
    return ContainerCapabilities(
        name=name,
        used=list(needed.used),
        denied=list(needed.denied),
        add=list(needed.add),
        drop=[each.removeprefix("CAP_") for each in dropped],
        patch=patch if len(patch) <= LONGEST_PATCH else "",
    )


def _believable(told: agent_pb2.Learned) -> agent_pb2.Learned:
    """Return a report with those names alone that can be capabilities, and no more than fit."""
    known = [each for each in told.capabilities if _NAME.fullmatch(each.name)][:MOST_NAMES]
    return agent_pb2.Learned(container=told.container, runs=told.runs, capabilities=known)
