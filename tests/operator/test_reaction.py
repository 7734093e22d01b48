# SPDX-License-Identifier: Apache-2.0
"""What is asked of the API server about pods that are cut off, by one that answers as it does."""

from typing import Any, cast

import pytest

from eunomia_operator.cluster.client import Cluster
from eunomia_operator.cluster.reaction import Reaction
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.world import Reference


class Server:
    """One pod, whose uid and node nobody changes; and no right to write NetworkPolicies."""

    def __init__(self) -> None:
        self.pod: dict[str, Any] = {
            "metadata": {"uid": "u-2", "labels": {}},
            "spec": {"nodeName": "node-a"},
        }
        self.asked: list[str] = []

    async def call(self, method: str, path: str, *, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(method)
        if path != "/api/v1/namespaces/shop/pods/web-1":
            raise ClusterError(method, "forbidden", 403)
        metadata, spec = ({**self.pod[name], **body.get(name, {})} for name in ("metadata", "spec"))
        if (metadata["uid"], spec["nodeName"]) != ("u-2", "node-a"):
            raise ClusterError(method, "field is immutable", 422)
        self.pod = {"metadata": metadata, "spec": spec}
        return self.pod


@pytest.mark.parametrize(
    ("uid", "node", "labels"),
    [("u-2", "node-a", {"cut": "off"}), ("u-1", "node-a", {}), ("u-2", "node-b", {})],
)
async def test_no_pod_is_labelled_but_the_one_that_the_node_told_of(
    uid: str, node: str, labels: dict[str, str]
) -> None:
    """Of the same name may be a later pod, and a node may tell of those of another."""
    server = Server()
    reaction = Reaction(cast(Cluster, server), "eunomia")
    pod = Reference("Pod", "shop", "web-1", uid, api_version="v1")
    if labels:
        assert await reaction.label_pod(pod, "cut", "off", node=node)
    else:
        with pytest.raises(ClusterError, match="immutable"):
            await reaction.label_pod(pod, "cut", "off", node=node)
    assert server.pod["metadata"]["labels"] == labels


async def test_a_network_policy_that_may_not_be_made_is_not_written_over() -> None:
    server = Server()
    body = {"metadata": {"namespace": "shop", "name": "wall"}}
    with pytest.raises(ClusterError, match="forbidden"):
        await Reaction(cast(Cluster, server), "eunomia").put_ward(body)
    assert server.asked == ["POST"]
