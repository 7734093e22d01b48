# SPDX-License-Identifier: Apache-2.0
"""Rows that wait for their owner, in bounded memory."""

from typing import cast

import numpy as np
import pytest

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout, Source
from eunomia_agent.jobs import held
from eunomia_agent.jobs.held import Held
from eunomia_agent.trackers.instance import Instance

ONE, OTHER = cast(Instance, "one tracker"), cast(Instance, "another")
COLUMNS = (
    Column("jobs", "job_set_t", "uint", 0, 8),
    Column("count", "u64", "uint", 8, 8),
)


def rows(size: int, source: Source = "events") -> Batch:
    """Two rows of so many bytes: one for the jobs in slots 0 and 2, one for that in slot 2.

    Those of a table stand for 10 events and 1.
    """
    layout = Layout("row", 16, COLUMNS)
    layout.source = source
    fixed = np.array([(0b101, 10), (0b100, 1)], layout.dtype)
    starts = np.zeros(2, np.uint64)
    room = size - fixed.nbytes - 2 * starts.nbytes
    return Batch(layout, fixed, bytes(room), starts, np.array([room, 0], np.uint64))


def test_rows_come_back_in_the_order_in_which_they_came() -> None:
    waiting = Held()
    waiting.put(7, ONE, rows(100))
    waiting.put(7, OTHER, rows(200))
    assert 7 in waiting
    taken = waiting.take(7).rows
    assert [(instance, batch.nbytes) for instance, batch in taken] == [(ONE, 100), (OTHER, 200)]
    assert 7 not in waiting
    assert waiting.take(7).rows == []


def test_what_finds_no_room_is_counted_for_each_of_its_jobs() -> None:
    waiting = Held()
    waiting.put(7, ONE, rows(held.MAX_BYTES_A_CGROUP))
    waiting.put(7, ONE, rows(100))
    waiting.put(7, ONE, rows(100, "counts"))
    taken = waiting.take(7)
    assert len(taken.rows) == 1
    assert taken.dropped == {(ONE, 0): 1 + 10, (ONE, 2): 2 + 11}
    assert taken.added_up() == taken.counted == {(ONE, 0): 10, (ONE, 2): 11}


def test_one_cgroup_cannot_take_the_room_of_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_BYTES", 2 * held.MAX_BYTES_A_CGROUP)
    waiting = Held()
    for _ in range(5):
        waiting.put(7, ONE, rows(held.MAX_BYTES_A_CGROUP))
    waiting.put(8, ONE, rows(held.MAX_BYTES_A_CGROUP))
    waiting.put(9, ONE, rows(100))
    assert len(waiting.take(8).rows) == 1
    assert len(waiting.take(9).rows) == 0
    waiting.take(7)
    waiting.put(9, ONE, rows(100))
    assert len(waiting.take(9).rows) == 1


def test_a_job_that_ends_is_taken_out_of_all_that_waits() -> None:
    waiting = Held()
    waiting.put(7, ONE, rows(held.MAX_BYTES_A_CGROUP, "counts"))
    waiting.put(7, ONE, rows(100, "counts"))
    waiting.put(8, OTHER, rows(100, "counts"))
    waiting.put(8, OTHER, rows(100))

    assert waiting.take_job(2) == {ONE: 2 * 11, OTHER: 11}
    assert waiting.take_job(2) == {}

    taken = waiting.take(7)
    assert taken.rows[0][1].fixed["jobs"].tolist() == [0b001, 0b000]
    assert taken.dropped == taken.counted == {(ONE, 0): 10}
    assert waiting.take_job(0) == {OTHER: 10}
    assert waiting.take(8).rows == [], "they were for nobody else"
