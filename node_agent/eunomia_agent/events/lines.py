# SPDX-License-Identifier: Apache-2.0
"""Rows as text: many lines in one block of bytes."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


class Lines:
    """n lines behind one another, each ended by a newline.

    data: their bytes, and no others; ends: int64 of shape (n,), where in `data` the next line
    begins.
    """

    def __init__(self, data: bytes | memoryview, ends: NDArray[np.int64]) -> None:
        self.data = memoryview(data)
        self.ends = ends

    @classmethod
    def of(cls, rows: Iterable[bytes]) -> "Lines":
        """Return rows, each without a newline, as lines."""
        lines = [row + b"\n" for row in rows]
        return cls(b"".join(lines), np.cumsum([len(line) for line in lines], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[bytes]:
        """Give each line, its newline left out."""
        start = 0
        for end in self.ends.tolist():
            yield bytes(self.data[start : end - 1])
            start = end

    @property
    def nbytes(self) -> int:
        """Bytes of all lines."""
        return len(self.data)

    def start(self, line: int) -> int:
        """Return where in `data` a line begins; that of the line after the last is the end."""
        return int(self.ends[line - 1]) if line else 0

    def part(self, first: int, end: int) -> memoryview:
        """Return the bytes of lines first, first + 1, … end - 1. They are not copied."""
        return self.data[self.start(first) : self.start(end)]

    def fitting(self, size: int, first: int = 0) -> int:
        """Return how many whole lines, from the first on, take no more than `size` bytes."""
        reached = int(np.searchsorted(self.ends, self.start(first) + size, side="right"))
        return max(0, reached - first)
