# SPDX-License-Identifier: Apache-2.0
import pytest

from eunomia_agent.trackers.limit import Limit, share


@pytest.mark.parametrize(
    ("trackers", "buckets", "period_ns"), [(1, 1, 100_000), (2, 5, 1_000_000), (1, 0, 100_000)]
)
def test_the_shares_add_up_to_the_budget(trackers: int, buckets: int, period_ns: int) -> None:
    assert share(10_000, trackers, buckets) == Limit(period_ns, 1_000_000_000)


def test_no_budget_is_no_limit() -> None:
    assert share(0, 2, 2) == Limit(0, 0)
