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

Expected = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A container, the capabilities that it uses, and those that it is denied, as ever."""


def recommended(learned: Mapping[str, Sequence[agent_pb2.Learned]]) -> CapabilitiesStatus:
    """Return what the containers asked for, and the least that they need. learned: by container."""
    names = sorted(name for name, told in learned.items() if any(each.runs for each in told))
    return CapabilitiesStatus(
        containers=[_of(name, learned[name]) for name in names[:MAX_CONTAINERS]]
    )


def held(
    audited: CapabilitiesStatus, learned: Mapping[str, Sequence[agent_pb2.Learned]]
) -> CapabilitiesStatus:
    """Return what was recommended before, which stays so whatever is used, with what is used.

    Else who uses what it leaves out would be let in after a while. Containers of which nothing was
    recommended are not in it: a first glimpse of them is no measure.
    """
    return CapabilitiesStatus(
        containers=[_with_use(each, learned.get(each.name, ())) for each in audited.containers]
    )


def expected(audited: CapabilitiesStatus) -> tuple[Expected, ...]:
    """Return beside what nodes are to tell of any use, and of any denial."""
    return tuple(
        (each.name, tuple(f"CAP_{name}" for name in each.add), tuple(each.denied))
        for each in audited.containers
    )


def _with_use(
    kept: ContainerCapabilities, reports: Sequence[agent_pb2.Learned]
) -> ContainerCapabilities:
    used = capabilities.recommend(reports).used
    return kept.model_copy(update={"used": sorted({*kept.used, *used})})


def _of(name: str, reports: Sequence[agent_pb2.Learned]) -> ContainerCapabilities:
    needed = capabilities.recommend(reports)
    # What the pods say themselves is not known here: beside containers that say nothing.
    dropped = sorted(capabilities.DEFAULT.difference(needed.used))
    patch = json.dumps(needed.patch(name), separators=(",", ":"))
    return ContainerCapabilities(
        name=name,
        used=list(needed.used),
        denied=list(needed.denied),
        add=list(needed.add),
        drop=[each.removeprefix("CAP_") for each in dropped],
        patch=patch if len(patch) <= LONGEST_PATCH else "",
    )
