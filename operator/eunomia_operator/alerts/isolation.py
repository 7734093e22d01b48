# SPDX-License-Identifier: Apache-2.0
"""Which pods are cut off the network, by which label and NetworkPolicy. Pure.

A NetworkPolicy can only leave out: where another one selects the pod and allows something, that
stays allowed. Nothing but the labels of pods is ever changed.
"""

import hashlib
import json
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eunomia_operator.objects.world import Reference

LABEL = "eunomia.dev/isolated"
"""On a pod: the policy that cut it off. Whoever removes it lets the pod back."""
MADE_FOR = "eunomia.dev/isolates"
"""On a NetworkPolicy: the uid of the policy that it belongs to."""
PODS = "eunomia.dev/pods"
"""On a NetworkPolicy: the pods that were labelled, as JSON, NAME by uid."""
PENDING = "eunomia.dev/pending-pods"
"""On a NetworkPolicy: uids of those pods that may not have their label yet, as JSON."""
CLUSTER_POLICY = "ClusterSecurityPolicy"
MOST_PODS = 500
"""That are remembered of a namespace."""
LONGEST_ANNOTATION = 200_000
"""Characters. 500 pods with the longest names and uids have fewer."""
MOST_WAITING = 100
LONGEST_LABEL = 63
_HASH = 8
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME = 253
_UID = re.compile(r"[0-9a-z][-0-9a-z]{0,127}")


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
    label: str
    """The value of LABEL on its pods."""
    pods: dict[str, str] = field(default_factory=dict[str, str])
    """Names by uid, also of those that somebody let back."""
    pending: set[str] = field(default_factory=set[str])
    """Uids of those that may not have their label yet."""

    @property
    def name(self) -> str:
        """The name of the NetworkPolicy."""
        return f"eunomia-isolated-{self.policy}"

    def add(self, pod: Reference) -> None:
        """Remember a pod, in the place of the oldest when there are too many."""
        self.pods[pod.uid] = pod.name
        self.pending.add(pod.uid)
        while len(self.pods) > MOST_PODS:
            self.forget(next(iter(self.pods)))

    def forget(self, uid: str) -> None:
        """Remember a pod no more."""
        self.pods.pop(uid, None)
        self.pending.discard(uid)

    def has_labelled(self, uid: str) -> bool:
        """Tell whether a pod got its label, which somebody may have removed since."""
        return uid in self.pods and uid not in self.pending

    def annotations(self) -> dict[str, str]:
        """Return what the NetworkPolicy remembers of the pods."""
        return {
            PODS: json.dumps(self.pods, separators=(",", ":")),
            PENDING: json.dumps(sorted(self.pending), separators=(",", ":")),
        }


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

    def hold(self, not_before: float) -> None:
        """Let the first turn come no earlier than this, as Unix time."""
        self._not_before = not_before

    def drop(self, unwanted: Callable[[Reference], bool]) -> None:
        """Forget the pods that need not wait."""
        for uid, request in list(self._waiting.items()):
            if unwanted(request.pod):
                del self._waiting[uid]

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


def label_of(policy: Reference) -> str:
    """Return the value of LABEL: the policy's name, cluster_NAME of a ClusterSecurityPolicy, and
    a hash of its uid.

    So what was labelled for a policy means nothing to a later one of that name.
    """
    told = hashlib.sha256(policy.uid.encode()).hexdigest()[:_HASH]
    value = policy.name if policy.namespace else f"cluster_{policy.name}"
    return f"{value[: LONGEST_LABEL - _HASH - 1]}-{told}"


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
    """Return what a NetworkPolicy tells of the pods; None when it is none of ours.

    Whoever may write NetworkPolicies can have written it: it counts where it belongs to the policy,
    and what is no name of a pod and no uid is left out.
    """
    metadata = body["metadata"]
    policy = str((metadata.get("labels") or {}).get(MADE_FOR) or "")
    owners = metadata.get("ownerReferences") or ()
    belongs = [each for each in owners if policy and each.get("uid") == policy]
    if not belongs:
        return None
    ward = Ward(policy, metadata["namespace"], _label_by(belongs[0], metadata["namespace"]))
    if metadata["name"] != ward.name:
        return None
    annotations = metadata.get("annotations") or {}
    pods = _read(annotations.get(PODS))
    if isinstance(pods, dict):
        told = [(uid, name) for uid, name in pods.items() if _is_pod(uid, name)]
        ward.pods = dict(told[-MOST_PODS:])
    pending = _read(annotations.get(PENDING))
    if isinstance(pending, list):
        ward.pending = {uid for uid in pending if isinstance(uid, str)} & ward.pods.keys()
    return ward


def _label_by(owner: Mapping[str, Any], namespace: str) -> str:
    within = "" if owner.get("kind") == CLUSTER_POLICY else namespace
    return label_of(Reference("", within, str(owner.get("name")), str(owner.get("uid"))))


def _read(text: str | None) -> Any:
    """Return what JSON says; None when it is none, or too much."""
    if text is None or len(text) > LONGEST_ANNOTATION:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_pod(uid: str, name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) <= _LONGEST_NAME
        and _NAME.fullmatch(name) is not None
        and _UID.fullmatch(uid) is not None
    )
