# SPDX-License-Identifier: Apache-2.0
"""A whole column of texts, asked about without making a string of each."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEP = 16
"""Bytes compared at a time: most rows differ in the first ones."""


class Text:
    """n texts: bytes of `data` that begin at `starts`, `lengths` of them; int64 of shape (n,)."""

    def __init__(self, data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        self.data = data
        self.starts = starts
        self.lengths = lengths

    @classmethod
    def of_chars(cls, values: NDArray[np.bytes_]) -> "Text":
        """Return arrays of char as texts: each ends at its first NUL."""
        size = values.dtype.itemsize
        data = values.tobytes()
        zero = np.frombuffer(data, np.uint8).reshape(-1, size) == 0
        lengths = np.where(zero.any(axis=1), zero.argmax(axis=1), size).astype(np.int64)
        return cls(data, np.arange(len(values), dtype=np.int64) * size, lengths)

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: NDArray[Any]) -> "Text":
        """Return some of the texts, by index or mask."""
        return Text(self.data, self.starts[rows], self.lengths[rows])

    def values(self) -> list[bytes]:
        """Return each text."""
        data, ends = self.data, self.starts + self.lengths
        return [data[a:b] for a, b in zip(self.starts.tolist(), ends.tolist(), strict=True)]

    def equals(self, value: bytes) -> NDArray[np.bool_]:
        """Tell which texts are just this."""
        return self._found(np.flatnonzero(self.lengths == len(value)), self.starts, value)

    def starts_with(self, value: bytes) -> NDArray[np.bool_]:
        """Tell which texts begin with this."""
        return self._found(np.flatnonzero(self.lengths >= len(value)), self.starts, value)

    def ends_with(self, value: bytes) -> NDArray[np.bool_]:
        """Tell which texts end with this."""
        starts = self.starts + self.lengths - len(value)
        return self._found(np.flatnonzero(self.lengths >= len(value)), starts, value)

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.data, np.uint8)

    def _found(
        self, rows: NDArray[np.intp], starts: NDArray[np.int64], value: bytes
    ) -> NDArray[np.bool_]:
        """Tell which of some rows have a value at a place of theirs."""
        for begin in range(0, len(value), _STEP):
            if not len(rows):
                break
            part = np.frombuffer(value[begin : begin + _STEP], np.uint8)
            windows = np.lib.stride_tricks.sliding_window_view(self._bytes, len(part))
            rows = rows[(windows[starts[rows] + begin] == part).all(axis=1)]
        found = np.zeros(len(self), np.bool_)
        found[rows] = True
        return found
