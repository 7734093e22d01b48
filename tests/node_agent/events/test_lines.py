# SPDX-License-Identifier: Apache-2.0
"""Lines in one block: which of them fit where."""

import numpy as np
import pytest

from eunomia_agent.events.lines import Lines
from eunomia_agent.events.template import take

ROWS = [b"a", b"", b"cccc", b"dd"]
"""With their newlines 2, 1, 5 and 3 bytes."""


def test_lines_are_ended_and_can_be_told_apart_again() -> None:
    lines = Lines.of(ROWS)
    assert bytes(lines.data) == b"a\n\ncccc\ndd\n"
    assert lines.ends.tolist() == [2, 3, 8, 11]
    assert list(lines) == ROWS
    assert bytes(lines.part(1, 3)) == b"\ncccc\n"
    assert (len(lines.part(2, 2)), len(lines.part(0, 4)), lines.nbytes) == (0, 11, 11)


@pytest.mark.parametrize(
    ("size", "first", "count"),
    [(11, 0, 4), (10, 0, 3), (1, 0, 0), (0, 0, 0), (-5, 3, 0), (6, 1, 2), (5, 1, 1), (99, 3, 1)],
)
def test_only_whole_lines_fit(size: int, first: int, count: int) -> None:
    assert Lines.of(ROWS).fitting(size, first) == count


def test_some_of_the_lines() -> None:
    some = take(Lines.of(ROWS), np.array([3, 0, 3]))
    assert list(some) == [b"dd", b"a", b"dd"]
    assert some.ends.tolist() == [3, 5, 8]
    assert list(Lines.of([])) == list(take(some, np.array([], dtype=np.intp))) == []
