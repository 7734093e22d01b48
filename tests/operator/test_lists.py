# SPDX-License-Identifier: Apache-2.0
"""An operator that is newer than the cluster's CustomResourceDefinitions serves what there is."""

import asyncio
from typing import Any

import pytest

from eunomia_operator.cluster import lists
from eunomia_operator.cluster.lists import Lists
from eunomia_operator.errors import ClusterError, OperatorError
from eunomia_operator.objects.world import Kind, World

POLICIES = (Kind.SECURITY_POLICIES, Kind.CLUSTER_SECURITY_POLICIES)


class Server:
    """An API server that lists a node, and refuses some kinds."""

    def __init__(self) -> None:
        self.refused: dict[Kind, int] = {}
        self.asked: list[Kind] = []

    async def list(self, kind: Kind) -> list[Any]:
        self.asked.append(kind)
        if kind in self.refused:
            status = self.refused[kind]
            raise ClusterError(f"GET /{kind}", f"{status} refused", status)
        return [{"metadata": {"name": "node-a"}}] if kind == Kind.NODES else []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    for pause in ("ABSENT_SECONDS", "RELIST_PAUSE_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(lists, pause, 0.001)
    return Server()


async def begun(server: Server, world: World) -> Lists:
    found = Lists(server.list, world)
    async with asyncio.timeout(10):
        await found.begin()
    return found


async def test_jobs_are_served_before_there_are_policies_and_it_begins_anew_with_them(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.refused = dict.fromkeys(POLICIES, 404)
    world = World(lambda: None)
    found = await begun(server, world)
    assert list(world.nodes) == ["node-a"]
    assert [each.getMessage() for each in caplog.records] == [
        f"the CustomResourceDefinition {kind}.eunomia.dev is not installed: kubectl apply -k crds;"
        f" {kind} wait for it"
        for kind in POLICIES
    ]
    kept = asyncio.create_task(found.keep())
    await asyncio.sleep(0.05)
    assert not kept.done()
    assert len(caplog.records) == 2
    server.refused.clear()
    with pytest.raises(OperatorError, match="clustersecuritypolicies, securitypolicies can be"):
        async with asyncio.timeout(10):
            await kept


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.TRACE_JOBS, 404),  # none of ours is known: perhaps the API server has just begun
        (Kind.SECURITY_POLICIES, 403),  # there may be policies, which nodes would end
        (Kind.SECCOMP_PROFILES, 503),
        (Kind.NODES, 404),
    ],
)
async def test_what_may_be_there_is_waited_for(server: Server, kind: Kind, status: int) -> None:
    server.refused = {kind: status}
    beginning = asyncio.create_task(Lists(server.list, World(lambda: None)).begin())
    await asyncio.sleep(0.05)
    assert not beginning.done()
    server.refused.clear()
    async with asyncio.timeout(10):
        await beginning


async def test_a_kind_that_fails_keeps_no_other_from_being_listed(server: Server) -> None:
    found = await begun(server, World(lambda: None))
    server.refused = {Kind.TRACE_JOBS: 500}
    server.asked.clear()
    found.ask()
    kept = asyncio.create_task(found.keep())
    async with asyncio.timeout(10):
        while len(server.asked) < len(Kind):
            await asyncio.sleep(0.001)
    kept.cancel()
    assert server.asked[:2] == [Kind.NODES, Kind.NAMESPACES]
    assert set(server.asked) == set(Kind)
