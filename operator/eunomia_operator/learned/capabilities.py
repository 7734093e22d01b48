# SPDX-License-Identifier: Apache-2.0
"""What a policy's status says of capabilities, out of what the nodes have learned. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eunomia_api import agent_pb2, capabilities
from eunomia_api.capabilities import Recommendation
from eunomia_api.policystatus import (
    MAX_CONTAINERS,
    CapabilitiesStatus,
    CapabilityChecks,
    ContainerCapabilities,
    PodField,
)

LONGEST_PATCH = 2048

Places = Mapping[str, str]
"""By container: the list of the pod's spec that has it, where that is known."""
Expected = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A container, the capabilities that it uses, and those that it is denied, as ever."""


def recommended(
    learned: Mapping[str, Sequence[agent_pb2.Learned]], places: Places
) -> CapabilitiesStatus:
    """Return what the containers asked for, and the least that they need. learned: by container."""
    names = sorted(name for name, told in learned.items() if any(each.runs for each in told))
    return CapabilitiesStatus(
        containers=[_of(name, learned[name], places) for name in names[:MAX_CONTAINERS]]
    )


def held(
    audited: CapabilitiesStatus,
    learned: Mapping[str, Sequence[agent_pb2.Learned]],
    places: Places,
) -> CapabilitiesStatus:
    """Return what was recommended before, which stays so whatever is used, with what is used.

    Else who uses what it leaves out would be let in after a while. Containers of which nothing was
    recommended are not in it: a first glimpse of them is no measure.
    """
    return CapabilitiesStatus(
        containers=[
            _with_use(each, learned.get(each.name, ()), places) for each in audited.containers
        ]
    )


def expected(audited: CapabilitiesStatus) -> tuple[Expected, ...]:
    """Return beside what nodes are to tell of any use, and of any denial."""
    return tuple(
        (each.name, tuple(f"CAP_{name}" for name in each.add), tuple(each.denied))
        for each in audited.containers
    )


def _with_use(
    kept: ContainerCapabilities, reports: Sequence[agent_pb2.Learned], places: Places
) -> ContainerCapabilities:
    seen = capabilities.recommend(reports)
    field = places.get(kept.name, kept.pod_field)
    privileged = kept.privileged if seen.privileged is None else seen.privileged
    stays = Recommendation(used=(), denied=(), add=tuple(kept.add), privileged=privileged)
    update: dict[str, Any] = {
        "used": sorted({*kept.used, *seen.used}),
        "checks": _checks(reports),
        "pod_field": field,
        "patch": _patch(kept.name, stays, field),
    }
    if seen.bounding is not None:
        drop = capabilities.dropped(seen.bounding, kept.add)
        update |= {
            "bounding": list(seen.bounding),
            "privileged": seen.privileged,
            "drop": list(drop),
        }
    elif kept.bounding is None:
        update["drop"] = None  # of an operator that compared it with something else
    return kept.model_copy(update=update)


def _of(name: str, reports: Sequence[agent_pb2.Learned], places: Places) -> ContainerCapabilities:
    needed = capabilities.recommend(reports)
    field = places.get(name, "")
    return ContainerCapabilities(
        name=name,
        used=list(needed.used),
        denied=list(needed.denied),
        add=list(needed.add),
        drop=None if needed.drop is None else list(needed.drop),
        checks=_checks(reports),
        bounding=None if needed.bounding is None else list(needed.bounding),
        privileged=needed.privileged,
        patch=_patch(name, needed, field),
        pod_field=field,
    )


def _patch(name: str, needed: Recommendation, field: str) -> str:
    """Return the patch; none where it is not known of which list, or it is of no template's."""
    if field not in (PodField.CONTAINERS, PodField.INIT_CONTAINERS):
        return ""
    patch = json.dumps(needed.patch(name, field), separators=(",", ":"))
    return patch if len(patch) <= LONGEST_PATCH else ""


def _checks(reports: Sequence[agent_pb2.Learned]) -> list[CapabilityChecks]:
    """Return how often each capability was asked for. reports: one of them tells of all nodes."""
    return [
        CapabilityChecks(name=each.name, call=each.call, granted=each.granted, denied=each.denied)
        for report in reports
        for each in report.capabilities
    ]
