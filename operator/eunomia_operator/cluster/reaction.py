# SPDX-License-Identifier: Apache-2.0
"""What alerts lead to in the Kubernetes API: AlertReports, and pods that are cut off."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from eunomia_api import API_VERSION
from eunomia_operator.alerts.isolation import MADE_FOR, owner
from eunomia_operator.cluster.client import CORE, JSON_PATCH, OURS, Cluster
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.world import Reference

LONGEST_NAME = 253
NETWORK = "/apis/networking.k8s.io/v1"


class Reaction:
    """AlertReports are read and written by their names; of pods nothing but a label is."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        """namespace: the operator's own, where the AlertReports of ClusterSecurityPolicies are."""
        self._cluster = cluster
        self._namespace = namespace

    async def read_alerts(self, policy: Reference, /) -> Mapping[str, Any] | None:
        """Return the AlertReport of a policy; None when there is none."""
        try:
            return await self._cluster.call("GET", "/".join(self._report(policy)))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def write_alerts(
        self, policy: Reference, fields: Mapping[str, object], /, *, exists: bool
    ) -> None:
        """Write the AlertReport of a policy, which goes with it."""
        path, name = self._report(policy)
        body = {
            "apiVersion": API_VERSION,
            "kind": "AlertReport",
            "metadata": {"name": name, "ownerReferences": [owner(policy)]},
            **fields,
        }
        if exists:
            await self._cluster.call("PATCH", f"{path}/{name}", body=body)
        else:
            await self._cluster.call("POST", path, body=body)

    async def list_wards(self) -> Sequence[Mapping[str, Any]]:
        """Return the NetworkPolicies that were made for policies."""
        query = {"labelSelector": MADE_FOR}
        found = await self._cluster.call("GET", f"{NETWORK}/networkpolicies", query=query)
        return found.get("items") or []

    async def put_ward(self, body: Mapping[str, Any], /) -> None:
        """Write a NetworkPolicy, whether there was one or not."""
        metadata = body["metadata"]
        path = f"{NETWORK}/namespaces/{metadata['namespace']}/networkpolicies"
        try:
            await self._cluster.call("POST", path, body=body)
        except ClusterError as error:
            if error.status != 409:
                raise
            await self._cluster.call("PATCH", f"{path}/{metadata['name']}", body=body)

    async def delete_ward(self, namespace: str, name: str, /) -> None:
        """Delete a NetworkPolicy."""
        path = f"{NETWORK}/namespaces/{namespace}/networkpolicies/{name}"
        await self._cluster.call("DELETE", path)

    async def label_pod(self, pod: Reference, label: str, value: str, /, *, node: str) -> bool:
        """Set a label of a pod; return False where the pod's network is the node's.

        node: where it has to be. The API server compares uid and node: a patch that would change
        either is refused as a whole (422).
        """
        metadata = {"uid": pod.uid, "labels": {label: value}}
        body = {"metadata": metadata, "spec": {"nodeName": node}}
        found = await self._cluster.call("PATCH", _path(pod), body=body)
        return not (found.get("spec") or {}).get("hostNetwork")

    async def relabel_pod(
        self, pod: Reference, label: str, before: str, after: str | None, /
    ) -> None:
        """Change a label of a pod, or remove it, if it has the value that it had before.

        The API server refuses the patch as a whole (422) where that or the uid is another.
        """
        path = f"/metadata/labels/{label.replace('~', '~0').replace('/', '~1')}"
        change = {"op": "remove"} if after is None else {"op": "replace", "value": after}
        body = [
            {"op": "test", "path": "/metadata/uid", "value": pod.uid},
            {"op": "test", "path": path, "value": before},
            {**change, "path": path},
        ]
        await self._cluster.call("PATCH", _path(pod), body=body, media=JSON_PATCH)

    def _report(self, policy: Reference) -> tuple[str, str]:
        """Return the path of the AlertReports of a namespace, and the name of a policy's."""
        namespace = policy.namespace or self._namespace
        return f"{OURS}/namespaces/{namespace}/alertreports", report_name(policy)


def report_name(policy: Reference) -> str:
    """Return the name of the AlertReport of a policy; one that would be too long ends in a hash."""
    name = policy.name if policy.namespace else f"cluster-{policy.name}"
    if len(name) <= LONGEST_NAME:
        return name
    told = hashlib.sha256(policy.name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('.-')}-{told}"


def _path(pod: Reference) -> str:
    return f"{CORE}/namespaces/{pod.namespace}/pods/{pod.name}"
