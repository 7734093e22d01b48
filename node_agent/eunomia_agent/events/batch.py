# SPDX-License-Identifier: Apache-2.0
"""Batches: many records of one layout as columns."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.events import render
from eunomia_agent.events.layout import KIND, REFERENCES, Layout

Rows = slice | NDArray[np.intp] | NDArray[np.bool_] | Sequence[int]


class Batch:
    """n records.

    fixed: structured array of shape (n,) and the layout's dtype; tail: the bytes behind the fixed
    parts, of these records and maybe of others; tail_start and tail_end: uint64 of shape (n,),
    where in `tail` a record's bytes begin and end. Without tail_end, the records are all that
    `tail` is of, in order. A batch owns its data and may be kept.
    """

    def __init__(
        self,
        layout: Layout,
        fixed: NDArray[Any],
        tail: bytes,
        tail_start: NDArray[np.uint64],
        tail_end: NDArray[np.uint64] | None = None,
    ) -> None:
        self.layout = layout
        self.fixed = fixed
        self.tail = tail
        self.tail_start = tail_start
        if tail_end is None:
            tail_end = np.append(tail_start[1:], np.uint64(len(tail)))[: len(fixed)]
        self.tail_end = tail_end

    @classmethod
    def empty(cls, layout: Layout) -> "Batch":
        """Return a batch of no records."""
        return cls(layout, np.empty(0, layout.dtype), b"", np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def weight(self) -> int:
        """How many events the records stand for: one each, or what their column `count` says."""
        if self.layout.source == "events":
            return len(self)
        return int(self.fixed["count"].sum())

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this batch keeps in use, tails of other records included."""
        return self.fixed.nbytes + len(self.tail) + 2 * self.tail_start.nbytes

    @property
    def tail_bytes(self) -> NDArray[np.uint8]:
        """The tail as an array: uint8 of shape (len(tail),). It is not copied."""
        return np.frombuffer(self.tail, np.uint8)

    def take(self, rows: Rows) -> "Batch":
        """Return a batch of some records: by index, slice or mask. It shares the tail."""
        if isinstance(rows, slice):
            fixed = self.fixed[rows]
        else:  # whole records: far quicker than by their fields
            whole = np.dtype((np.void, self.layout.size))
            fixed = self.fixed.view(whole)[rows].view(self.layout.dtype)
        return Batch(self.layout, fixed, self.tail, self.tail_start[rows], self.tail_end[rows])

    def split(self, column: str) -> "Iterator[tuple[int, Batch]]":
        """Give the batch in parts, one for each number in a column, with the number.

        Records keep their order within a part.
        """
        numbers = self.fixed[column]
        if not len(numbers):
            return
        if (numbers == numbers[0]).all():
            yield int(numbers[0]), self
            return
        order = np.argsort(numbers, kind="stable")
        ordered = self.take(order)
        numbers = numbers[order]
        begins = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
        for begin, end in pairwise(begins):
            yield int(numbers[begin]), ordered.take(slice(begin, end))

    def compact(self) -> "Batch":
        """Return a batch of the same records that keeps no others' tails in memory."""
        raw = self._tails()
        ends = np.cumsum([len(each) for each in raw], dtype=np.uint64)
        starts = ends - (self.tail_end - self.tail_start)
        return Batch(self.layout, self.fixed.copy(), b"".join(raw), starts, ends)

    def present(self, column: str) -> NDArray[np.bool_] | None:
        """Return which records have a column, bool of shape (n,); None: all of them.

        What stands in the place of a union's column in other records is something else.
        """
        kinds = self.layout.column(column).kinds
        return np.isin(self.fixed[KIND], list(kinds)) if kinds else None

    def bytes_of(self, column: str) -> list[bytes]:
        """Return a text column as bytes, just as they came: a reference's or a char array's."""
        found = self.layout.column(column)
        values = self.fixed[column]
        if found.meaning not in REFERENCES:
            return [value.split(b"\0", 1)[0] for value in values.tolist()]
        starts, stops = self.spans(column)
        tail = self.tail
        return [tail[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]

    def text(self, column: str) -> list[str]:
        """Return a column as people read it: printable characters only, one string a record.

        It is empty where a record does not have the column.
        """
        found = self.layout.column(column)
        return self._where_present(column, render.text(found, self._values(column)), "")

    def json(self, column: str) -> list[str]:
        """Return a column as JSON fragments of ASCII characters, one a record.

        It is null where a record does not have the column.
        """
        found = self.layout.column(column)
        return self._where_present(column, render.json(found, self._values(column)), "null")

    def records(self) -> list[bytes]:
        """Return the records as the kernel sent them."""
        size = self.layout.size
        heads = self.fixed.tobytes()
        tails = self._tails()
        return [heads[n * size : (n + 1) * size] + tail for n, tail in enumerate(tails)]

    def _values(self, column: str) -> render.Values:
        found = self.layout.column(column)
        if found.meaning in REFERENCES or found.kind == "chars":
            return self.bytes_of(column)
        return self.fixed[column]

    def _where_present(self, column: str, values: list[str], otherwise: str) -> list[str]:
        present = self.present(column)
        if present is None:
            return values
        return [
            value if has else otherwise for value, has in zip(values, present.tolist(), strict=True)
        ]

    def spans(self, column: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where in the tail the bytes of references begin and end: in their own record's."""
        references = self.fixed[column]
        offsets = (references & 0xFFFF).astype(np.int64) - self.layout.size
        lengths = (references >> 16).astype(np.int64)
        limits = self.tail_end.astype(np.int64)
        starts = self.tail_start.astype(np.int64) + offsets
        starts = np.where(offsets < 0, limits, np.minimum(starts, limits))
        return starts, np.minimum(starts + lengths, limits)

    def _tails(self) -> list[bytes]:
        """Return the bytes behind each record's fixed part."""
        spans = zip(self.tail_start.tolist(), self.tail_end.tolist(), strict=True)
        return [bytes(self.tail[a:b]) for a, b in spans]
