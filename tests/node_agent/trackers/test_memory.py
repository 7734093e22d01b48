# SPDX-License-Identifier: Apache-2.0
"""The memory of a tracker's maps, before they are made."""

from dataclasses import dataclass

import pytest

from eunomia_agent.errors import NoMemoryLeft
from eunomia_agent.trackers.memory import (
    ARRAY,
    HASH,
    LPM_TRIE,
    PERCPU_ARRAY,
    RINGBUF,
    bytes_of,
    plan,
)


@dataclass(frozen=True)
class Declared:
    kind: int
    key_size: int
    value_size: int
    max_entries: int


RING = Declared(RINGBUF, 0, 0, 1 << 20)
COUNTS = Declared(HASH, 24, 32, 10_240)
ACCOUNTS = Declared(HASH, 16, 40, 4096)


def shared_out(budget: int, **maps: Declared) -> tuple[dict[str, int], int]:
    made = plan("t", maps, budget, page_bytes=4096, cpus=2)
    return dict(made.entries), made.total


def test_a_ring_is_the_largest_power_of_two_that_the_budget_holds_twice() -> None:
    assert shared_out(8 << 20, events=RING) == ({"events": 4 << 20}, 4 << 20)
    assert shared_out((8 << 20) - 1, events=RING) == ({"events": 2 << 20}, 2 << 20)
    assert shared_out(1, events=RING) == ({"events": 4096}, 4096)


def test_a_table_holds_as_many_entries_as_fit_and_shares_with_the_ring() -> None:
    alone, bytes_alone = shared_out(8 << 20, counts=COUNTS)
    both, bytes_both = shared_out(8 << 20, counts=COUNTS, events=RING)

    assert alone["counts"] // 2 == both["counts"]
    assert both["events"] == 2 << 20
    assert max(bytes_alone, bytes_both) <= 8 << 20


def test_what_is_the_same_for_all_jobs_comes_on_top_and_what_is_shared_does_not() -> None:
    _, without = shared_out(1 << 20, events=RING)
    _, total = shared_out(1 << 20, events=RING, accounts=ACCOUNTS, targets=ACCOUNTS)

    assert total - without == bytes_of(ACCOUNTS, 4096, 2) == 4096 * (48 + 16 + 40) + 4096 * 16


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (ARRAY, 10 * 40),
        (PERCPU_ARRAY, 10 * 40 * 2),
        (HASH, 10 * 104 + 16 * 16),
        (LPM_TRIE, 2 * 10 * (40 + 16 + 40)),
    ],
)
def test_the_size_of_a_map_is_that_of_its_kind(kind: int, size: int) -> None:
    assert bytes_of(Declared(kind, 16, 40, 10), 10, 2) == size


def test_too_small_a_budget_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(NoMemoryLeft, match=r"t needs at least 1\d{4} bytes for its results"):
        shared_out(4096, counts=COUNTS)
