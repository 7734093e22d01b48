# SPDX-License-Identifier: Apache-2.0
"""Which owners a job watches. Pure."""

from dataclasses import dataclass

from eunomia_agent.containers.owner import Owner
from eunomia_api.labels import Selector


@dataclass(frozen=True, slots=True)
class Target:
    """What a job watches on a node.

    pod_selector: None for no pods at all. containers: names; empty for all. host: processes that
    belong to no container, too.
    """

    namespaces: frozenset[str] = frozenset()
    all_namespaces: bool = False
    pod_selector: Selector | None = None
    containers: frozenset[str] = frozenset()
    host: bool = False


def matches(target: Target, owner: Owner) -> bool:
    """Tell whether events of this cgroup are the job's: a wanted container's, or the host's.

    Sandboxes and pods' own cgroups hold nothing of the user's, and of pending and unknown ones
    nothing can be said.
    """
    if owner.kind == "host":
        return target.host
    if owner.kind != "container" or not matches_pod(target, owner):
        return False
    return not target.containers or owner.container in target.containers


def matches_pod(target: Target, owner: Owner) -> bool:
    """Tell whether the owner's pod is one of the job's."""
    if target.pod_selector is None or not owner.namespace:
        return False
    if not target.all_namespaces and owner.namespace not in target.namespaces:
        return False
    return target.pod_selector.matches(owner.labels)


def may_match(target: Target, owner: Owner) -> bool:
    """Tell whether programs should be attached for this owner: it is the job's, or could be."""
    if owner.kind == "pending":
        return target.pod_selector is not None
    return matches_pod(target, owner) or matches(target, owner)
