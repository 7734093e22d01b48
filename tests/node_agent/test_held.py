# SPDX-License-Identifier: Apache-2.0
"""Rows that wait for their owner, in bounded memory."""

from typing import cast

import numpy as np
import pytest

from eunomia_agent import held
from eunomia_agent.events.batch import Batch
from eunomia_agent.held import Held
from eunomia_agent.trackers.instance import Instance

ONE, OTHER = cast(Instance, "one tracker"), cast(Instance, "another")


class Rows:
    """Two rows of so many bytes: one for the jobs in slots 0 and 2, one for that in slot 2."""

    def __init__(self, size: int) -> None:
        self.nbytes = size
        self.fixed = {"jobs": np.array([0b101, 0b100], dtype=np.uint64)}

    def compact(self) -> "Rows":
        return self


def rows(size: int) -> Batch:
    return cast(Batch, Rows(size))


def test_rows_come_back_in_the_order_in_which_they_came() -> None:
    waiting = Held()
    first, second = rows(10), rows(20)
    waiting.put(7, ONE, first)
    waiting.put(7, OTHER, second)
    assert 7 in waiting
    assert waiting.take(7).rows == [(ONE, first), (OTHER, second)]
    assert 7 not in waiting
    assert waiting.take(7).rows == []


def test_what_finds_no_room_is_counted_for_each_of_its_jobs() -> None:
    waiting = Held()
    waiting.put(7, ONE, rows(held.MAX_BYTES_A_CGROUP))
    waiting.put(7, ONE, rows(1))
    waiting.put(7, ONE, rows(1))
    taken = waiting.take(7)
    assert len(taken.rows) == 1
    assert taken.dropped == {(ONE, 0): 2, (ONE, 2): 4}


def test_one_cgroup_cannot_take_the_room_of_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_BYTES", 2 * held.MAX_BYTES_A_CGROUP)
    waiting = Held()
    for _ in range(5):
        waiting.put(7, ONE, rows(held.MAX_BYTES_A_CGROUP))
    waiting.put(8, ONE, rows(held.MAX_BYTES_A_CGROUP))
    waiting.put(9, ONE, rows(1))
    assert len(waiting.take(8).rows) == 1
    assert len(waiting.take(9).rows) == 0
    waiting.take(7)
    waiting.put(9, ONE, rows(1))
    assert len(waiting.take(9).rows) == 1
