# SPDX-License-Identifier: Apache-2.0
"""What becomes of what a status says of capabilities."""

from eunomia_api.policystatus import CapabilitiesStatus, ContainerCapabilities
from eunomia_operator.learned.capabilities import held


def test_what_is_to_be_dropped_is_not_said_where_nobody_ever_told_what_is_there() -> None:
    """An older operator compared with what runtimes give by default."""
    older = ContainerCapabilities(name="web", add=["CHOWN"], drop=["NET_RAW"])
    told = ContainerCapabilities(name="db", add=[], drop=["NET_RAW"], bounding=["NET_RAW"])

    web, db = held(CapabilitiesStatus(containers=[older, told]), {}, {}).containers

    assert (web.add, web.drop) == (["CHOWN"], None)
    assert db.drop == ["NET_RAW"]
