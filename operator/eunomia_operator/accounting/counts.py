# SPDX-License-Identifier: Apache-2.0
"""Counts that only ever go up, on one node or over many. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import add, attrgetter, sub
from typing import Self

LARGEST = 2**63 - 1
MOST_OF_A_NODE = LARGEST >> 16
"""A sum over thousands of nodes must fit the int64 of a status."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Whole numbers, by name: a kind of count is a dataclass of them, each 0 unless told."""

    @property
    def values(self) -> tuple[int, ...]:
        """The numbers in the order of their names."""
        reader = _READERS.get(type(self))
        if reader is None:
            reader = _READERS[type(self)] = attrgetter(*(each.name for each in fields(self)))
        return reader(self)

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, self.values, other.values))

    def beyond(self, other: Self) -> Self:
        """Return by how much each is above the other's; zero where it is not."""
        above = tuple(map(sub, self.values, other.values))
        if min(above) < 0:
            above = tuple(max(0, each) for each in above)
        return type(self)(*above)

    def at_least(self, other: Self) -> Self:
        """Return the larger one of each."""
        mine = self.values
        larger = tuple(map(max, mine, other.values))
        return (self if larger == mine else type(self)(*larger)).consistent()

    def consistent(self) -> Self:
        """Return it with what follows from the larger ones of two: by itself, nothing does."""
        return self

    @property
    def believable(self) -> bool:
        """Whether one node can have counted so much."""
        return max(self.values) <= MOST_OF_A_NODE


_READERS: dict[type[Counts], Callable[[Counts], tuple[int, ...]]] = {}
