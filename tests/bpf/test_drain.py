# SPDX-License-Identifier: Apache-2.0
"""How long rows wait for others, before all that have come are read."""

import time
from typing import Any

from eunomia_agent.events.drain import (
    DELAY,
    HURRIED_DELAY,
    LONGEST_DELAY,
    LONGEST_HURRIED_DELAY,
    Drain,
)


def waits(drain: Drain, times: int) -> list[float]:
    """What `woken` says while records come without a pause."""
    said = []
    for _ in range(times):
        said.append(drain.woken())
        drain.drain()
    return said


def test_rows_that_come_without_a_pause_wait_longer_and_those_that_are_judged_hardly(
    track: Any,
) -> None:
    tracked = track("opensnoop")
    ring, layout = tracked.object.map("events"), tracked.drain.layout
    with Drain(ring, layout) as drain:
        assert waits(drain, 5) == [DELAY, 2 * DELAY, 4 * DELAY, LONGEST_DELAY, LONGEST_DELAY]
        time.sleep(10 * DELAY + 0.01)
        assert drain.woken() == DELAY
    with Drain(ring, layout) as drain:
        drain.hurry()
        soon = HURRIED_DELAY
        longest = LONGEST_HURRIED_DELAY
        assert waits(drain, 8) == [*(soon * 2**n for n in range(6)), longest, longest]
        time.sleep(10 * DELAY + 0.01)
        assert drain.woken() == soon
