# SPDX-License-Identifier: Apache-2.0
"""Histograms for a terminal: a line a slot, with a bar."""

from collections.abc import Sequence

_SCALES = {
    "ns": ((10**9, "s"), (10**6, "ms"), (10**3, "us"), (1, "ns")),
    "bytes": ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


def bars(slots: Sequence[int], unit: str, width: int = 40) -> list[str]:
    """Return a heading, and a line for each slot from the first one in use to the last.

    slots: all of them; slot i has the number of values v with 2^i <= v < 2^(i+1), slot 0 that of
    0 as well, and the last slot that of all larger ones. unit: of the values: ns and bytes are
    shown in larger units where that is shorter, others in the heading. width: characters of the
    longest bar; a slot in use has a bar of one at least. Nothing, for slots without a value.
    """
    used = [index for index, count in enumerate(slots) if count]
    if not used:
        return []
    rows = [
        (*_bounds(index, unit, last=index == len(slots) - 1), str(slots[index]))
        for index in range(used[0], used[-1] + 1)
    ]
    low, high, count = (max(map(len, column)) for column in zip(*rows, strict=True))
    count = max(count, len("count"))
    most = max(slots)
    named = "value" if unit in _SCALES else unit or "value"
    low = max(low, len(named) - 4 - high)
    heading = f"{named:>{low + 4 + high}} : {'count':>{count}} distribution"
    return [
        heading,
        *(
            f"{a:>{low}} {'->' if b else '  '} {b:<{high}} : {number:>{count}} "
            f"|{'*' * -(-slots[used[0] + row] * width // most):<{width}}|"
            for row, (a, b, number) in enumerate(rows)
        ),
    ]


def _bounds(index: int, unit: str, *, last: bool) -> tuple[str, str]:
    """Return where a slot begins and ends; of the last one of all, where it begins alone."""
    low = _amount(1 << index if index else 0, unit)
    return (f"from {low}", "") if last else (low, _amount(2 << index, unit))


def _amount(value: int, unit: str) -> str:
    """Return a power of two, or 0, with its unit: at most three digits of a time."""
    scales = _SCALES.get(unit)
    if scales is None:
        return str(value)
    size, name = next((scale for scale in scales if value >= scale[0]), scales[-1])
    scaled = value / size
    return f"{scaled:.1f}".removesuffix(".0") + name if scaled < 10 else f"{scaled:.0f}{name}"
