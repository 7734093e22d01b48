# SPDX-License-Identifier: Apache-2.0
"""The Lease, against a stand-in for the API server that keeps one."""

import asyncio
from typing import Any, cast

import pytest

from eunomia_operator.cluster import client as cluster_module
from eunomia_operator.cluster.client import Cluster, Election, _Lock
from eunomia_operator.errors import ClusterError
from eunomia_operator.settings import Settings


class Leases:
    """Keeps one Lease; may be away."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] = {
            "metadata": {"name": "eunomia-operator"},
            "spec": {
                "holderIdentity": "before",
                "leaseDurationSeconds": 0,
                "renewTime": "2026-01-01T00:00:00.000000Z",
            },
        }
        self.away = False

    async def read_lease(self) -> dict[str, Any]:
        if self.away:
            raise ClusterError("read the Lease", "no answer")
        return self.lease

    async def write_lease(self, method: str, lease: dict[str, Any]) -> None:
        if self.away:
            raise ClusterError("write the Lease", "no answer")
        self.lease = lease


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def election(leases: Leases, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Election:
    election = Election(_Lock(cast("Cluster", leases), settings))
    # After it was made: the library takes no less than a second.
    monkeypatch.setattr(cluster_module, "RENEW_SECONDS", 0.5)
    monkeypatch.setattr(cluster_module, "RETRY_SECONDS", 0.05)
    return election


async def test_a_leader_that_finds_another_in_its_place_ends_at_once(
    leases: Leases, election: Election, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "RENEW_SECONDS", 60.0)  # for so long it bears an outage
    async with asyncio.timeout(20):
        await election.win()
        holding = asyncio.create_task(election.hold())
        await asyncio.sleep(0.2)
        assert not holding.done()
        spec = {**leases.lease["spec"], "holderIdentity": "another", "leaseDurationSeconds": 15}
        leases.lease = {**leases.lease, "spec": spec}
        await holding


async def test_a_leader_bears_a_short_outage_and_ends_after_a_long_one(
    leases: Leases, election: Election
) -> None:
    async with asyncio.timeout(20):
        await election.win()
        leases.away = True
        holding = asyncio.create_task(election.hold())
        await asyncio.sleep(0.2)
        leases.away = False
        await asyncio.sleep(0.5)
        assert not holding.done()
        leases.away = True
        await holding
