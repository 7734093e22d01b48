# SPDX-License-Identifier: Apache-2.0
"""Cuts pods off the network, and lets them back when their policy does not ask for it any more."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

from eunomia_operator.alerts.alert import Alert
from eunomia_operator.alerts.isolation import (
    LABEL,
    Queue,
    Request,
    Ward,
    label_of,
    network_policy,
    ward_of,
)
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.policy import Policy
from eunomia_operator.objects.world import Reference
from eunomia_operator.status.news import News

logger = logging.getLogger("eunomia.isolation")

LOOK_SECONDS = 1.0
RETRY_SECONDS = 5.0
MINUTE = 60.0
ISOLATED = "Isolated"
UNPROCESSABLE = 422
"""HTTP status where a patch names another pod, or a label that has changed."""
MOST_UNANSWERED = 3
"""Pods of a ward, after which the API server is taken to be away."""


Known = Callable[[], Mapping[str, Policy] | None]
"""Returns the policies that there are, by uid; None when that is not known yet."""
Note = Callable[[str, str, str], None]
"""Takes a policy's uid, an alert's id, and what was done about it."""


class PodStore(Protocol):
    """Where pods are labelled, and NetworkPolicies kept."""

    async def list_wards(self) -> Sequence[Mapping[str, Any]]:
        """Return the NetworkPolicies that were made for policies."""
        ...

    async def put_ward(self, body: Mapping[str, Any], /) -> None:
        """Write a NetworkPolicy, whether there was one or not."""
        ...

    async def delete_ward(self, namespace: str, name: str, /) -> None:
        """Delete a NetworkPolicy."""
        ...

    async def label_pod(self, pod: Reference, label: str, value: str, /, *, node: str) -> bool:
        """Set a label of a pod; return False where the pod's network is the node's.

        node: where it has to be.
        """
        ...

    async def relabel_pod(
        self, pod: Reference, label: str, before: str, after: str | None, /
    ) -> None:
        """Change a label of a pod, or remove it, if it has the value that it had before."""
        ...


class Isolator:
    """One thing after the other, in the background."""

    def __init__(
        self,
        store: PodStore,
        tell: Callable[[Reference, News, float], None],
        spared: Iterable[str],
    ) -> None:
        """spared: namespaces whose pods are never cut off."""
        self._store = store
        self._tell = tell
        self._spared = frozenset(spared)
        self._queues: dict[str, Queue] = {}
        self._wards: dict[tuple[str, str], Ward] = {}
        self._undo_at: dict[tuple[str, str], float] = {}
        """When those wards are looked at again whose pods could not all be let back."""
        self._recalled: dict[str, float] = {}
        """By policy for which an earlier leader cut pods off: when that was learned."""
        self._wake = asyncio.Event()

    def ask(self, policy: Policy, alert: Alert, now: float, /) -> None:
        """Ask for the pod of an alert to be cut off; tell of it only, in a dry run."""
        pod, rule = alert.pod, alert.reported.rule
        if pod is None:
            return
        if self._has_labelled(policy.object.uid, pod):
            return
        if pod.namespace in self._spared:
            self._say(policy, pod, "NotIsolated", f"{rule}: no pod of {pod.namespace} ever is", now)
        elif policy.dry or alert.reported.dry_run:
            self._say(policy, pod, "WouldIsolate", f"{rule}: in Enforce it would be cut off", now)
        else:
            request = Request(pod, alert.reported.node, rule, alert.reported.id)
            uid = policy.object.uid
            # An earlier leader may have used up what the minute allows.
            not_before = self._recalled.get(uid, 0.0) + MINUTE
            self._queues.setdefault(uid, Queue(not_before)).put(request)
            self._wake.set()

    async def run(self, known: Known, note: Note) -> None:
        """Work until cancelled."""
        await self._recall()
        while True:
            for work in (self._let_back, self._cut_off):
                try:
                    await work(known, note)
                except ClusterError as error:
                    logger.warning("will try again: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:
                    # One that surprises us must not end the leader.
                    logger.exception("not all pods were looked after")
                    await asyncio.sleep(RETRY_SECONDS)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _recall(self) -> None:
        """Learn what an earlier leader did."""
        while True:
            try:
                found = await self._store.list_wards()
            except ClusterError as error:
                logger.warning("cannot tell yet which pods are cut off: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for body in found:
                self._remember(body)
            for uid, queue in self._queues.items():
                queue.drop(partial(self._has_labelled, uid))
            return

    def _remember(self, body: Mapping[str, Any]) -> None:
        try:
            ward = ward_of(body)
        except Exception:
            logger.exception("a NetworkPolicy could not be read, and is passed over")
            return
        if ward is not None:
            self._wards[ward.policy, ward.namespace] = ward
            self._recalled[ward.policy] = _now()
            if ward.policy in self._queues:
                self._queues[ward.policy].hold(_now() + MINUTE)

    async def _let_back(self, known: Known, _: Note) -> None:
        """Undo what is not asked for any more. A policy that is not accepted asks for nothing new,
        and takes nothing back.
        """
        policies = known()
        if policies is None:
            return
        for key, ward in list(self._wards.items()):
            if _stays(policies.get(ward.policy)):
                continue
            if _now() < self._undo_at.get(key, 0.0):
                continue
            if await self._undo(ward, policies):
                del self._wards[key]
                self._undo_at.pop(key, None)
            else:
                self._undo_at[key] = _now() + RETRY_SECONDS
        for uid in self._queues.keys() - policies.keys():
            del self._queues[uid]

    async def _undo(self, ward: Ward, policies: Mapping[str, Policy]) -> bool:
        """Let the pods of a ward back, each for itself; return whether nothing is left to do."""
        unanswered = 0
        for uid, name in list(ward.pods.items()):
            pod = Reference("Pod", ward.namespace, name, uid, api_version="v1")
            try:
                await self._undo_pod(ward, pod, policies)
            except ClusterError as error:
                if not error.refused:
                    logger.warning("will be let back later: %s", error)
                    unanswered += not error.status
                    if unanswered == MOST_UNANSWERED:
                        break
                    continue
                if not error.gone and error.status != UNPROCESSABLE:
                    self._tell(pod, News("Warning", "NotLetBack", str(error)), _now())
            ward.forget(uid)
        if ward.pods:
            return False
        try:
            await self._store.delete_ward(ward.namespace, ward.name)
        except ClusterError as error:
            if not error.refused:
                logger.warning("will be deleted later: %s", error)
                return False
            if not error.gone:
                logger.warning("a NetworkPolicy that cuts nothing off stays: %s", error)
        return True

    async def _undo_pod(self, ward: Ward, pod: Reference, policies: Mapping[str, Policy]) -> None:
        other = self._other(ward, pod, policies)
        await self._store.relabel_pod(pod, LABEL, ward.label, other)
        if other is None:
            self._tell(pod, News("Normal", "LetBack", "not cut off any more"), _now())

    def _other(self, ward: Ward, pod: Reference, policies: Mapping[str, Policy]) -> str | None:
        """Return the label for another policy that had the pod cut off as well."""
        for each in self._wards.values():
            policy = policies.get(each.policy)
            same = each.namespace == ward.namespace and each.policy != ward.policy
            if same and policy is not None and _stays(policy) and each.has_labelled(pod.uid):
                return label_of(policy.object.reference)
        return None

    def _has_labelled(self, policy: str, pod: Reference) -> bool:
        ward = self._wards.get((policy, pod.namespace))
        return ward is not None and ward.has_labelled(pod.uid)

    async def _cut_off(self, known: Known, note: Note) -> None:
        for uid, queue in list(self._queues.items()):
            policy = (known() or {}).get(uid)
            if policy is None or not policy.isolates_any:
                queue.clear()
                continue
            request = queue.take(policy.most_pods_a_minute, _now())
            if request is None:
                continue
            try:
                await self._isolate(policy, request)
            except ClusterError as error:
                if not error.refused:
                    queue.put(request)
                    raise
                what = f"{request.rule}: {error}"
                self._say(policy, request.pod, "NotIsolated", what, _now())
            else:
                policy.note_isolated()
                note(uid, request.alert, ISOLATED)

    async def _isolate(self, policy: Policy, request: Request) -> None:
        pod, about = request.pod, policy.object.reference
        fresh = Ward(about.uid, pod.namespace, label_of(about))
        ward = self._wards.setdefault((about.uid, pod.namespace), fresh)
        ward.add(pod)
        # First what is to be undone is written down, and the wall put up: then the pod goes behind.
        await self._store.put_ward(network_policy(about, ward))
        try:
            reached = await self._store.label_pod(pod, LABEL, label_of(about), node=request.node)
        except ClusterError as error:
            if error.refused:
                ward.forget(pod.uid)
                await self._store.put_ward(network_policy(about, ward))
            raise
        ward.pending.discard(pod.uid)
        try:
            await self._store.put_ward(network_policy(about, ward))
        except ClusterError as error:
            logger.warning("the next leader may label a pod again: %s", error)
        logger.warning("policy %s cut off pod %s/%s", about.name, pod.namespace, pod.name)
        what = f"{request.rule}: labelled {LABEL}={label_of(about)}, which lets nothing in or out"
        if not reached:
            what = f"{request.rule}: labelled, but it uses the node's network, which stays open"
        self._say(policy, pod, ISOLATED, what, _now(), type_="Warning")

    def _say(
        self,
        policy: Policy,
        pod: Reference,
        reason: str,
        message: str,
        now: float,
        *,
        type_: Literal["Normal", "Warning"] = "Normal",
    ) -> None:
        """Tell of a pod, on it and on its policy."""
        where = f"pod {pod.namespace}/{pod.name}"
        topic = f"{policy.object.uid} {reason} {where}"
        self._tell(pod, News(type_, reason, message, topic), now)
        self._tell(policy.object.reference, News(type_, reason, f"{where}: {message}", topic), now)


def _stays(policy: Policy | None) -> bool:
    """Tell whether what a policy had cut off stays so."""
    return policy is not None and (policy.accepted is None or policy.isolates_any)


def _now() -> float:
    return time.time()
