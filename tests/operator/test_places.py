# SPDX-License-Identifier: Apache-2.0
"""In which list of its pod's spec a container is."""

import asyncio
from typing import Any

import pytest

from eunomia_api.policystatus import PodField
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.places import MOST_TRIES, RETRY_SECONDS, Places, place_in

NOW = 1767225600.0
WEB: Any = {
    "spec": {
        "initContainers": [{"name": "setup"}, {"name": "sidecar", "restartPolicy": "Always"}],
        "containers": [{"name": "web"}],
        "ephemeralContainers": None,
    }
}


@pytest.mark.parametrize(
    ("container", "field"),
    [
        ("web", PodField.CONTAINERS),
        ("setup", PodField.INIT_CONTAINERS),
        ("sidecar", PodField.INIT_CONTAINERS),
        ("other", None),
    ],
)
def test_a_container_is_in_one_list_of_its_pod(container: str, field: PodField | None) -> None:
    assert place_in(WEB, container) == field


class Pods:
    def __init__(self, **pods: Any) -> None:
        self.pods = pods
        self.read: list[str] = []

    async def read_pod(self, namespace: str, name: str, /) -> Any:
        self.read.append(name)
        await asyncio.sleep(0)
        if name not in self.pods:
            raise ClusterError("get", f"no pod {namespace}/{name}", 404)
        return self.pods[name]


def wanted(container: str, *pods: str) -> Any:
    return {"uid-1": {container: [("shop", each) for each in pods]}}


async def passed() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_pods_that_are_gone_or_odd_are_passed_over() -> None:
    pods = Pods(odd={"spec": 7}, odder={"spec": {"containers": ["web"]}}, good=WEB)
    places = Places(pods)
    woken: list[None] = []
    places.wake = lambda: woken.append(None)
    places.look(wanted("web", "gone", "odd", "odder", "good"), NOW)
    places.look(wanted("web", "good"), NOW)  # one thing after the other
    await passed()
    assert pods.read == ["gone", "odd", "odder"], f"{MOST_TRIES} at once"
    assert (places.known("uid-1"), woken) == ({}, [])

    places.look(wanted("web", "good"), NOW + RETRY_SECONDS - 1)
    await passed()
    assert len(pods.read) == MOST_TRIES
    places.look(wanted("web", "good"), NOW + RETRY_SECONDS)
    await passed()
    assert (places.known("uid-1"), woken) == ({"web": "containers"}, [None])

    places.look({}, NOW + RETRY_SECONDS)  # the policy is gone
    assert places.known("uid-1") == {}
    await places.close()
