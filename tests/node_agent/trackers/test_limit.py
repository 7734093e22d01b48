# SPDX-License-Identifier: Apache-2.0
import pytest

from eunomia_agent.trackers.limit import Limit, share
from eunomia_agent.trackers.pool import ring_bytes


@pytest.mark.parametrize(
    ("trackers", "containers", "period_ns"), [(1, 1, 100_000), (2, 5, 1_000_000), (1, 0, 100_000)]
)
def test_the_shares_add_up_to_the_budget(trackers: int, containers: int, period_ns: int) -> None:
    assert share(10_000, trackers, containers) == Limit(period_ns, 1_000_000_000)


def test_no_budget_is_no_limit() -> None:
    assert share(0, 2, 2) == Limit(0, 0)


@pytest.mark.parametrize(
    ("memory", "trackers", "size"),
    [(8 << 20, 1, 4 << 20), (8 << 20, 2, 2 << 20), (8 << 20, 3, 1 << 20), (65536, 16, 4096)],
)
def test_a_ring_and_its_reader_fit_in_the_trackers_part(
    memory: int, trackers: int, size: int
) -> None:
    assert ring_bytes(memory, trackers, 4096) == size
