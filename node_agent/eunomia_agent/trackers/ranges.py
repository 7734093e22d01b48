# SPDX-License-Identifier: Apache-2.0
"""What one column of an event may be, as the kernel is asked it: match.h, WHERE and its like."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from eunomia_agent.kernel.btf import Btf

AMONG = "among_"
"""How variables begin that hold the only values that a column may have: AMONG of match.h."""
MAX_AMONG = 16
LEAST, MOST = -(2**63), 2**63 - 1
_RANGE = struct.Struct("=2q")
_NUMBERS = struct.Struct(f"=Q{MAX_AMONG}q")
_TEXT = struct.Struct("=2I16s")
_FLAGS = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Range:
    """struct range: values from least to most, both included; none where least is greater.

    among: the only ones of them, in order, where not all are meant: struct numbers.
    """

    least: int = LEAST
    most: int = MOST
    among: tuple[int, ...] = ()

    @classmethod
    def of(cls, values: Iterable[int]) -> Self:
        """Return just these values."""
        ordered = tuple(sorted({*values}))
        if not ordered:
            return cls(1, 0)
        least, most = ordered[0], ordered[-1]
        return cls(least, most, ordered if most - least >= len(ordered) else ())

    @property
    def values(self) -> frozenset[int] | None:
        """All of its values; None where these are more than the kernel takes one by one."""
        if self.among:
            return frozenset(self.among)
        if self.most - self.least >= MAX_AMONG:
            return None
        return frozenset(range(self.least, self.most + 1))

    def both(self, other: "Range") -> "Range":
        """Return the values that are in both ranges."""
        least, most = max(self.least, other.least), min(self.most, other.most)
        few = [set(each.among) for each in (self, other) if each.among]
        if not few:
            return Range(least, most)
        return Range.of(value for value in set.intersection(*few) if least <= value <= most)

    def variables(self, column: str) -> dict[str, bytes]:
        """Return a column's variables with what they hold, as it lies in memory."""
        found = {f"where_{column}": _RANGE.pack(self.least, self.most)}
        if self.among:
            padded = (*self.among, *[0] * (MAX_AMONG - len(self.among)))
            found[f"{AMONG}{column}"] = _NUMBERS.pack(len(self.among), *padded)
        return found


def among_columns(btf: Btf) -> frozenset[str]:
    """Return the columns that may have some values with others between them: AMONG() in C."""
    names = (name for name in btf.section(".rodata") if name.startswith(AMONG))
    return frozenset(name.removeprefix(AMONG) for name in names)


def numbers_in(numbers: Iterable[int], within: bytes, among: bytes | None) -> frozenset[int]:
    """Return which of some numbers pass a column's variables; see Range.variables."""
    least, most = _RANGE.unpack(within)
    found = frozenset(number for number in numbers if least <= number <= most)
    if among is None:
        return found
    count, *values = _NUMBERS.unpack(among)
    return found & {*values[:count]}


@dataclass(frozen=True, slots=True)
class TextRange:
    """struct text_range: texts that begin with some bytes, or are just these."""

    begin: bytes
    exact: bool

    def both(self, other: "TextRange") -> "TextRange | None":
        """Return the texts that are in both; None where that is no such range."""
        for one, wider in ((self, other), (other, self)):
            if one == wider or (not wider.exact and one.begin.startswith(wider.begin)):
                return one
        return None

    def variables(self, column: str) -> dict[str, bytes]:
        """Return a column's variable with what it holds, as it lies in memory."""
        return {f"where_{column}": _TEXT.pack(len(self.begin), self.exact, self.begin)}


@dataclass(frozen=True, slots=True)
class Flags:
    """WHERE_FLAGS of match.h: values that have all of some bits."""

    bits: int

    def both(self, other: "Flags") -> "Flags":
        """Return the values that have the bits of either."""
        return Flags(self.bits | other.bits)

    def variables(self, column: str) -> dict[str, bytes]:
        """Return a column's variable with what it holds, as it lies in memory."""
        return {f"where_{column}": _FLAGS.pack(self.bits)}
