# SPDX-License-Identifier: Apache-2.0
"""The operator's picture of the objects that it watches.

The watch keeps it current, a list now and then mends what the watch missed. A list is older than
what the watch told meanwhile: whatever was touched since the list was asked for is left alone.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from eunomia_api import API_VERSION
from eunomia_operator.planning.plan import Namespace, Node

logger = logging.getLogger("eunomia.control")

Body = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace (empty when there is none) and name."""


class Kind(StrEnum):
    """What is watched, by the plural in the API."""

    TRACE_JOBS = "tracejobs"
    CLUSTER_TRACE_JOBS = "clustertracejobs"
    SECURITY_POLICIES = "securitypolicies"
    CLUSTER_SECURITY_POLICIES = "clustersecuritypolicies"
    SECCOMP_PROFILES = "seccompprofiles"
    NODES = "nodes"
    NAMESPACES = "namespaces"


KINDS = {
    Kind.TRACE_JOBS: "TraceJob",
    Kind.CLUSTER_TRACE_JOBS: "ClusterTraceJob",
    Kind.SECURITY_POLICIES: "SecurityPolicy",
    Kind.CLUSTER_SECURITY_POLICIES: "ClusterSecurityPolicy",
    Kind.SECCOMP_PROFILES: "SeccompProfile",
}
"""The kinds of which nodes do something for each object."""


POLICIES = (KINDS[Kind.SECURITY_POLICIES], KINDS[Kind.CLUSTER_SECURITY_POLICIES])


@dataclass(frozen=True, slots=True)
class Reference:
    """What tells one object from all others."""

    kind: str
    namespace: str
    """Empty when there is none."""
    name: str
    uid: str
    api_version: str = API_VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """A job, policy or profile, as far as it matters.

    Two are equal when a user changed nothing between them.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    spec: object = field(compare=False)
    status: object = field(compare=False)
    created: str = ""
    """metadata.creationTimestamp."""
    owner: str = ""
    """The uid of the policy that it goes with."""

    @property
    def reference(self) -> Reference:
        """What tells it from all others."""
        return Reference(self.kind, self.namespace, self.name, self.uid)


Known = Resource | Node | Namespace


class World:
    """Jobs, policies, nodes and namespaces."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """changed: called after anything changed that matters."""
        self._changed = changed
        self._objects: dict[Kind, dict[Key, Known]] = {kind: {} for kind in Kind}
        self._touched: dict[tuple[Kind, Key], int] = {}
        self._moment = 0

    @property
    def resources(self) -> list[Resource]:
        """All jobs and policies."""
        return [
            resource
            for kind in KINDS
            if kind != Kind.SECCOMP_PROFILES
            for resource in self._of(kind)
        ]

    @property
    def profiles(self) -> list[Resource]:
        """All seccomp profiles."""
        return self._of(Kind.SECCOMP_PROFILES)

    def _of(self, kind: Kind) -> list[Resource]:
        return [each for each in self._objects[kind].values() if isinstance(each, Resource)]

    @property
    def nodes(self) -> dict[str, Node]:
        """Nodes by name."""
        known = self._objects[Kind.NODES]
        return {name: node for (_, name), node in known.items() if isinstance(node, Node)}

    def node(self, name: str) -> Node | None:
        """Return a node by its name."""
        known = self._objects[Kind.NODES].get(("", name))
        return known if isinstance(known, Node) else None

    @property
    def namespaces(self) -> dict[str, Namespace]:
        """Namespaces by name."""
        known = self._objects[Kind.NAMESPACES]
        return {name: each for (_, name), each in known.items() if isinstance(each, Namespace)}

    def see(self, kind: Kind, event: str | None, body: Body) -> None:
        """Take in what the watch tells. event: as in the API, None in the first list."""
        self._moment += 1
        key = _key(body)
        self._touched[kind, key] = self._moment
        seen = None if event == "DELETED" else _read(kind, body)
        if self._put(kind, key, seen):
            self._changed()

    def mark(self) -> int:
        """Return the moment to hand to `replace` with a list that is asked for after it."""
        return self._moment

    def replace(self, kind: Kind, bodies: Iterable[Body], mark: int) -> None:
        """Take in a whole list."""
        listed = {_key(body): _read(kind, body) for body in bodies}
        changed = False
        for key in [*listed, *(self._objects[kind].keys() - listed.keys())]:
            if self._touched.get((kind, key), 0) <= mark:
                changed = self._put(kind, key, listed.get(key)) or changed
        self._touched = {
            touched: moment
            for touched, moment in self._touched.items()
            if touched[0] != kind or moment > mark
        }
        if changed:
            self._changed()

    def _put(self, kind: Kind, key: Key, seen: Known | None) -> bool:
        known = self._objects[kind]
        if known.get(key) == seen:
            return False
        if seen is None:
            del known[key]
        else:
            known[key] = seen
        return True


def _key(body: Body) -> Key:
    metadata = body["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _read(kind: Kind, body: Body) -> Known | None:
    try:
        return _parsed(kind, body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # The API server would not store such an object; one bad one must not hide the others.
        logger.warning("%s %s cannot be read: %r", kind, _key(body), error)
        return None


def _parsed(kind: Kind, body: Body) -> Known | None:
    """Return what matters of an object; None when a job or policy is being deleted."""
    metadata = body["metadata"]
    name = metadata["name"]
    terminating = bool(metadata.get("deletionTimestamp"))
    labels = dict(metadata.get("labels") or {})
    match kind:
        case Kind.NODES:
            return Node(name, metadata.get("uid") or "", labels)
        case Kind.NAMESPACES:
            return Namespace(name, labels, terminating)
        case _:
            if terminating:
                return None
            return Resource(
                kind=KINDS[kind],
                namespace=metadata.get("namespace") or "",
                name=name,
                uid=metadata["uid"],
                generation=int(metadata.get("generation") or 0),
                spec=body.get("spec"),
                status=body.get("status"),
                created=str(metadata.get("creationTimestamp") or ""),
                owner=_owner(metadata),
            )


def _owner(metadata: Body) -> str:
    for each in metadata.get("ownerReferences") or ():
        if each["kind"] in POLICIES:
            return str(each["uid"])
    return ""
