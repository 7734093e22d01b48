# SPDX-License-Identifier: Apache-2.0
import pytest

from eunomia_agent.errors import TooManyJobs
from eunomia_agent.slots import Slots


def test_the_slot_that_was_free_longest_is_taken_first() -> None:
    slots = Slots()
    assert [slots.take() for _ in range(64)] == list(range(64))
    with pytest.raises(TooManyJobs, match="at most 64"):
        slots.take()
    slots.give_back(9)
    slots.give_back(3)
    assert [slots.take(), slots.take()] == [9, 3]
