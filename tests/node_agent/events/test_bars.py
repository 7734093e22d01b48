# SPDX-License-Identifier: Apache-2.0
"""Histograms as people see them."""

import pytest

from eunomia_agent.events.bars import bars


def slots(**counts: int) -> list[int]:
    """Make 40 slots; s9=3 puts 3 into the slot from 2^9 on."""
    return [counts.get(f"s{index}", 0) for index in range(40)]


@pytest.mark.parametrize(
    ("counts", "unit", "width", "lines"),
    [
        (
            slots(s9=3, s10=120, s11=4000, s13=1),
            "ns",
            10,
            [
                "         value : count distribution",
                "512ns -> 1us   :     3 |*         |",
                "  1us -> 2us   :   120 |*         |",
                "  2us -> 4.1us :  4000 |**********|",
                "4.1us -> 8.2us :     0 |          |",
                "8.2us -> 16us  :     1 |*         |",
            ],
        ),
        (
            slots(s12=123_456, s13=61_728),
            "bytes",
            4,
            [
                "        value :  count distribution",
                "4KiB -> 8KiB  : 123456 |****|",
                "8KiB -> 16KiB :  61728 |**  |",
            ],
        ),
        (
            slots(s0=1, s1=1),
            "packets",
            2,
            [
                "packets : count distribution",
                " 0 -> 2 :     1 |**|",
                " 2 -> 4 :     1 |**|",
            ],
        ),
        (
            slots(s38=1, s39=2),
            "ns",
            4,
            [
                "            value : count distribution",
                "     275s -> 550s :     1 |**  |",
                "from 550s         :     2 |****|",
            ],
        ),
        (slots(s4=7), "", 3, ["   value : count distribution", "16 -> 32 :     7 |***|"]),
        (slots(), "ns", 40, []),
        ([], "ns", 40, []),
    ],
)
def test_slots_as_lines(counts: list[int], unit: str, width: int, lines: list[str]) -> None:
    assert bars(counts, unit, width) == lines


def test_every_bar_is_as_long_as_its_share_and_none_in_use_is_empty() -> None:
    lines = bars([2**index for index in range(40)], "ns")[1:]
    lengths = [line.count("*") for line in lines]
    assert lengths[-5:] == [3, 5, 10, 20, 40]
    assert min(lengths) == 1
    assert len({len(line) for line in lines}) == 1
