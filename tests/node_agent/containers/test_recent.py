# SPDX-License-Identifier: Apache-2.0
"""Trouble that is told while it lasts, and for a minute."""

from eunomia_agent.containers.recent import STEPS, Recent


def test_growth_is_told_for_a_minute_and_then_forgotten() -> None:
    recent = Recent(60.0)
    assert recent.note(0, 0.0) == 0
    assert recent.note(5, 10.0) == 5
    assert recent.note(7, 40.0) == 7
    assert recent.note(7, 69.0) == 7
    assert recent.note(7, 71.0) == 2, "the first five are more than a minute ago"
    assert recent.note(7, 101.0) == 0
    assert recent.note(8, 1000.0) == 1
    assert recent.total == 8


def test_storm_is_told_in_a_few_numbers() -> None:
    recent = Recent(60.0)
    grown = [recent.note(moment, moment / 100) for moment in range(1, 30_001)]
    assert len(recent._steps) <= STEPS + 1
    assert all(5900 <= each <= 6100 for each in grown[6100:]), "a hundred a second"
