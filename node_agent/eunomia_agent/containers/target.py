# SPDX-License-Identifier: Apache-2.0
"""Which owners a job watches. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from eunomia_agent.containers.owner import Owner
from eunomia_api.labels import Selector

LEAST_PREFIX = 4
"""Digits that a prefix of a container's id has at least: a single one fits a sixteenth of all."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a job watches on a node: what any of pod_selector, host, cgroups, everything asks for.

    pod_selector: None for no containers at all. With one, containers are watched whose namespace,
    pod and labels fit and which containers or container_ids name, where either is given.
    namespaces: "" stands for containers outside of pods, as Docker's; all_namespaces has only pods.
    pod_names: NAME or NAMESPACE/NAME; empty for any. containers: names. container_ids: prefixes of
    ids; a prefix of fewer than LEAST_PREFIX digits names nothing.
    host: processes that belong to no container.
    cgroups: paths from the root of the hierarchy, each with all below it, whosever that is.
    everything: all of the node, known or not.
    excluded_namespaces: what is in a pod of one of these is never watched, whatever asks for it.
    """

    namespaces: frozenset[str] = frozenset()
    all_namespaces: bool = False
    pod_selector: Selector | None = None
    containers: frozenset[str] = frozenset()
    host: bool = False
    everything: bool = False
    pod_names: frozenset[str] = frozenset()
    container_ids: frozenset[str] = frozenset()
    cgroups: frozenset[str] = frozenset()
    excluded_namespaces: frozenset[str] = frozenset()


def matches(target: Target, owner: Owner) -> bool:
    """Tell whether events of this cgroup are the job's.

    Those of pending ones wait for their owner. Of sandboxes, pods' own cgroups and unknown ones
    only who asks for everything, or for their place in the tree, has anything.
    """
    if owner.kind == "pending" or owner.namespace in target.excluded_namespaces:
        return False
    if _has_place(target, owner) or (target.host and owner.kind == "host"):
        return True
    return owner.kind == "container" and _is_selected(target, owner) and _is_named(target, owner)


def matches_pod(target: Target, owner: Owner) -> bool:
    """Tell whether the owner's pod is one of the job's."""
    return bool(owner.namespace) and _is_selected(target, owner)


def may_match(target: Target, owner: Owner) -> bool:
    """Tell whether programs should be attached for this owner: it is the job's, or could be."""
    if owner.kind == "pending":
        return target.pod_selector is not None or _has_place(target, owner)
    return matches_pod(target, owner) or matches(target, owner)


def _has_place(target: Target, owner: Owner) -> bool:
    return target.everything or not target.cgroups.isdisjoint(_around(owner.path))


def _around(path: str) -> Iterator[str]:
    """Give a cgroup's path and those of all above it, each as they may be written.

    "": a path that is not known, which nothing is above.
    """
    parts = path.rstrip("/").split("/") if path.startswith("/") else []
    for depth in range(len(parts), 0, -1):
        place = "/".join(parts[:depth])
        yield place
        yield f"{place}/"


def _is_selected(target: Target, owner: Owner) -> bool:
    if target.pod_selector is None or owner.namespace in target.excluded_namespaces:
        return False
    if owner.namespace not in target.namespaces and not (target.all_namespaces and owner.namespace):
        return False
    return _is_pod_named(target, owner) and target.pod_selector.matches(owner.labels)


def _is_pod_named(target: Target, owner: Owner) -> bool:
    names = (owner.pod, f"{owner.namespace}/{owner.pod}")
    return not target.pod_names or not target.pod_names.isdisjoint(names)


def _is_named(target: Target, owner: Owner) -> bool:
    if not target.containers and not target.container_ids:
        return True
    whole = owner.container_id
    prefixes = (whole[:length] for length in range(LEAST_PREFIX, len(whole) + 1))
    return owner.container in target.containers or not target.container_ids.isdisjoint(prefixes)
