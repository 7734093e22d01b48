# SPDX-License-Identifier: Apache-2.0
"""Which pods are cut off the network, by which label and NetworkPolicy. Pure.

A NetworkPolicy can only leave out: where another one selects the pod and allows something, that
stays allowed. Nothing but the labels of pods is ever changed.
"""

import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eunomia_operator.world import Reference

LABEL = "eunomia.dev/isolated"
"""On a pod: the policy that cut it off. Whoever removes it lets the pod back."""
MADE_FOR = "eunomia.dev/isolates"
"""On a NetworkPolicy: the uid of the policy that it belongs to."""
PODS = "eunomia.dev/pods"
"""On a NetworkPolicy: the pods that were labelled, as JSON, NAME by uid."""
MOST_PODS = 500
"""That are remembered of a namespace."""
MOST_WAITING = 100
LONGEST_LABEL = 63


@dataclass(frozen=True, slots=True)
class Request:
    """A pod that is to be cut off."""

    pod: Reference
    node: str
    """The node that told of it, on which it has to be."""
    rule: str
    alert: str
    """Id of the alert."""


@dataclass(slots=True)
class Ward:
    """The pods of one namespace that one policy cut off."""

    policy: str
    """Its uid."""
    namespace: str
    pods: dict[str, str] = field(default_factory=dict[str, str])
    """Names by uid, also of those that somebody let back."""

    @property
    def name(self) -> str:
        """The name of the NetworkPolicy."""
        return f"eunomia-isolated-{self.policy}"

    def add(self, pod: Reference) -> None:
        """Remember a pod, in the place of the oldest when there are too many."""
        self.pods[pod.uid] = pod.name
        while len(self.pods) > MOST_PODS:
            del self.pods[next(iter(self.pods))]

    def annotations(self) -> dict[str, str]:
        """Return what the NetworkPolicy remembers of the pods."""
        return {PODS: json.dumps(self.pods, separators=(",", ":"))}


class Queue:
    """Pods of one policy that wait for their turn."""

    def __init__(self, not_before: float = 0.0) -> None:
        """not_before: when the first turn may come, as Unix time."""
        self._not_before = not_before
        self._waiting: OrderedDict[str, Request] = OrderedDict()
        self._turns: deque[float] = deque()

    def put(self, request: Request) -> None:
        """Take in a request, unless that pod waits already, or too many do."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.setdefault(request.pod.uid, request)

    def take(self, per_minute: int, now: float) -> Request | None:
        """Return the next request if it is its turn: there are so many in any minute."""
        while self._turns and self._turns[0] <= now - 60:
            self._turns.popleft()
        if not self._waiting or len(self._turns) >= per_minute or now < self._not_before:
            return None
        self._turns.append(now)
        return self._waiting.popitem(last=False)[1]

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


def label_of(policy: Reference) -> str:
    """Return the value of LABEL: the name of the policy, cluster_NAME of a ClusterSecurityPolicy.

    One that is too long for a label is told by its uid.
    """
    value = policy.name if policy.namespace else f"cluster_{policy.name}"
    return value if len(value) <= LONGEST_LABEL else policy.uid


def network_policy(policy: Reference, ward: Ward) -> dict[str, object]:
    """Return the NetworkPolicy that lets nothing in or out. It goes with the policy."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": ward.name,
            "namespace": ward.namespace,
            "labels": {MADE_FOR: policy.uid},
            "annotations": ward.annotations(),
            "ownerReferences": [owner(policy)],
        },
        "spec": {
            "podSelector": {"matchLabels": {LABEL: label_of(policy)}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }


def owner(policy: Reference) -> dict[str, str]:
    """Return the owner reference with which an object goes when its policy does."""
    return {
        "apiVersion": policy.api_version,
        "kind": policy.kind,
        "name": policy.name,
        "uid": policy.uid,
    }


def ward_of(body: Mapping[str, Any]) -> Ward | None:
    """Return what a NetworkPolicy tells of the pods; None when it is none of ours."""
    metadata = body["metadata"]
    policy = (metadata.get("labels") or {}).get(MADE_FOR)
    ward = Ward(str(policy), metadata["namespace"])
    if not policy or metadata["name"] != ward.name:
        return None
    try:
        pods = json.loads((metadata.get("annotations") or {}).get(PODS) or "{}")
    except ValueError:
        return ward
    if isinstance(pods, dict):
        ward.pods = {str(uid): str(name) for uid, name in pods.items()}
    return ward
