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
NOTHING = CapabilitiesStatus()

Expected = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A container, the capabilities that it uses, and those that it is denied, as ever."""


def recommended(
    learned: Mapping[str, Sequence[agent_pb2.Learned]],
    audited: CapabilitiesStatus = NOTHING,
) -> CapabilitiesStatus:
    """Return what the containers asked for, and the least that they need. learned: by container.

    audited: what was recommended before, and stays so whatever is used: else who uses what it
    leaves out would be let in after a while.
    """
    kept = {each.name: each for each in audited.containers}
    seen = sorted(name for name, told in learned.items() if any(each.runs for each in told))
    names = [*kept, *(name for name in seen if name not in kept)][:MAX_CONTAINERS]
    return CapabilitiesStatus(
        containers=[_of(name, learned.get(name, ()), kept.get(name)) for name in sorted(names)]
    )


def expected(audited: CapabilitiesStatus) -> tuple[Expected, ...]:
    """Return beside what nodes are to tell of any use, and of any denial."""
    return tuple(
        (each.name, tuple(f"CAP_{name}" for name in each.add), tuple(each.denied))
        for each in audited.containers
    )


def _of(
    name: str, reports: Sequence[agent_pb2.Learned], kept: ContainerCapabilities | None
) -> ContainerCapabilities:
    if kept is not None:
        used = capabilities.recommend(reports).used
        return kept.model_copy(update={"used": sorted({*kept.used, *used})})
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
