# SPDX-License-Identifier: Apache-2.0
"""What a policy's status says of capabilities, out of what the nodes have learned. Pure."""

import json
from collections.abc import Mapping, Sequence

from eunomia_api import agent_pb2, capabilities
from eunomia_api.policystatus import (
    MAX_CONTAINERS,
    CapabilitiesStatus,
    ContainerCapabilities,
)

LONGEST_PATCH = 2048


def recommended(learned: Mapping[str, Sequence[agent_pb2.Learned]]) -> CapabilitiesStatus:
    """Return what the containers asked for, and the least that they need. learned: by container."""
    names = sorted(name for name, told in learned.items() if any(each.runs for each in told))
    return CapabilitiesStatus(
        containers=[_of(name, learned[name]) for name in names[:MAX_CONTAINERS]]
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
