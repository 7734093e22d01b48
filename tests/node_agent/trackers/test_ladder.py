# SPDX-License-Identifier: Apache-2.0
"""What is left of a job whose budget is passed by far."""

from collections.abc import Iterable
from itertools import pairwise

from eunomia_agent.trackers.ladder import Ladder, Rung


def walk(ladder: Ladder, rates: Iterable[float], start: float = 0.0) -> list[Rung]:
    """One step a second."""
    return [ladder.step(start + second, rate) for second, rate in enumerate(rates)]


def test_a_burst_leaves_everything_as_it_is() -> None:
    assert set(walk(Ladder(10_000), [10**7, 10**7, 10**7, 0, 10**7, 10**7, 10**7])) == {Rung.EVENTS}


def test_above_its_budget_but_not_by_far_a_job_keeps_its_events() -> None:
    assert set(walk(Ladder(10_000), [100_000] * 100)) == {Rung.EVENTS}
    assert set(walk(Ladder(1), [50_000] * 100)) == {Rung.EVENTS}


def test_without_a_budget_there_is_nothing_to_pass() -> None:
    assert set(walk(Ladder(0), [10**9] * 100)) == {Rung.EVENTS}


def test_it_goes_down_rung_by_rung_and_comes_back_by_itself() -> None:
    ladder = Ladder(10_000)

    down = walk(ladder, [2_000_000] * 8)
    assert down == [*[Rung.EVENTS] * 3, *[Rung.COUNTS] * 4, Rung.STOPPED]
    assert ladder.told() == (
        "stopped, to be tried again within 60 s: 2,000,000 events/s are far above its budget of"
        " 10,000/s"
    )

    rest = walk(ladder, [0.0] * 31, start=8)
    assert rest[:29] == [Rung.STOPPED] * 29
    assert rest[-1] is Rung.COUNTS

    up = walk(ladder, [100.0] * 12, start=39)
    assert up[:9] == [Rung.COUNTS] * 9
    assert up[-1] is Rung.EVENTS
    assert ladder.told() is None


def test_one_that_stays_hot_is_looked_at_less_and_less() -> None:
    ladder = Ladder(10_000)
    rungs = walk(ladder, [2_000_000] * 3600)

    looks = sum(
        before is Rung.STOPPED and after is Rung.COUNTS for before, after in pairwise(rungs)
    )
    assert 5 < looks < 15
    assert rungs.count(Rung.EVENTS) == 3


def test_between_its_bounds_it_stays_where_it_is() -> None:
    ladder = Ladder(10_000)
    walk(ladder, [200_000] * 5)

    assert set(walk(ladder, [60_000] * 60, start=5)) == {Rung.COUNTS}
    assert (
        ladder.told()
        == "events are only counted: 60,000 events/s are far above its budget of 10,000/s"
    )
