# SPDX-License-Identifier: Apache-2.0
"""Batches: many records of one layout as columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.events import render
from eunomia_agent.events.layout import REFERENCES, Layout

Rows = slice | NDArray[np.intp] | NDArray[np.bool_] | Sequence[int]


class Batch:
    """n records.

    fixed: structured array of shape (n,) and the layout's dtype; tail: the bytes behind the fixed
    parts, of these records and maybe of others; tail_start: uint64 of shape (n,), where in `tail`
    a record's bytes begin. A batch owns its data and may be kept.
    """

    def __init__(
        self, layout: Layout, fixed: NDArray[Any], tail: bytes, tail_start: NDArray[np.uint64]
    ) -> None:
        self.layout = layout
        self.fixed = fixed
        self.tail = tail
        self.tail_start = tail_start

    @classmethod
    def empty(cls, layout: Layout) -> "Batch":
        """Return a batch of no records."""
        return cls(layout, np.empty(0, layout.dtype), b"", np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this batch keeps in use, tails of other records included."""
        return self.fixed.nbytes + len(self.tail) + self.tail_start.nbytes

    def take(self, rows: Rows) -> "Batch":
        """Return a batch of some records: by index, slice or mask. It shares the tail."""
        return Batch(self.layout, self.fixed[rows], self.tail, self.tail_start[rows])

    def compact(self) -> "Batch":
        """Return a batch of the same records that keeps no others' tails in memory."""
        raw = [self._tail_of(number) for number in range(len(self))]
        ends = np.cumsum([len(each) for each in raw], dtype=np.uint64)
        starts = np.concatenate([np.zeros(1, np.uint64), ends[:-1]])[: len(self)]
        return Batch(self.layout, self.fixed.copy(), b"".join(raw), starts)

    def bytes_of(self, column: str) -> list[bytes]:
        """Return a text column as bytes, just as they came: a reference's or a char array's."""
        found = self.layout.column(column)
        values = self.fixed[column]
        if found.meaning not in REFERENCES:
            return [value.split(b"\0", 1)[0] for value in values.tolist()]
        starts, stops = self._span(values)
        tail = self.tail
        return [tail[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]

    def text(self, column: str) -> list[str]:
        """Return a column as people read it: printable characters only, one string a record."""
        found = self.layout.column(column)
        return render.text(found, self._values(column))

    def json(self, column: str) -> list[str]:
        """Return a column as JSON fragments of ASCII characters, one a record."""
        found = self.layout.column(column)
        return render.json(found, self._values(column))

    def records(self) -> list[bytes]:
        """Return the records as the kernel sent them."""
        heads = self.fixed.tobytes()
        size = self.layout.size
        return [
            heads[number * size : (number + 1) * size] + self._tail_of(number)
            for number in range(len(self))
        ]

    def _values(self, column: str) -> render.Values:
        found = self.layout.column(column)
        if found.meaning in REFERENCES or found.kind == "chars":
            return self.bytes_of(column)
        return self.fixed[column]

    def _span(self, references: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where in the tail the bytes of references begin and end."""
        offsets = (references & 0xFFFF).astype(np.int64) - self.layout.size
        lengths = np.where(offsets < 0, 0, references >> 16)
        starts = self.tail_start.astype(np.int64) + np.maximum(offsets, 0)
        return starts, starts + lengths

    def _tail_of(self, number: int) -> bytes:
        """Return all bytes behind one record's fixed part: up to where its last reference ends."""
        start = end = int(self.tail_start[number])
        for column in self.layout.columns:
            if column.meaning in REFERENCES:
                reference = int(self.fixed[column.name][number])
                if reference:
                    reach = (reference & 0xFFFF) + (reference >> 16) - self.layout.size
                    end = max(end, start + reach)
        return self.tail[start:end]
