# SPDX-License-Identifier: Apache-2.0
"""A whole column of texts, asked about without making a string of each."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEP = 16
"""Bytes compared at a time: most rows differ in the first ones."""
_WORD = 8
_PLACES = np.arange(_WORD)
Words = NDArray[np.uint64]


class Text:
    """n texts: bytes of `data` that begin at `starts`, `lengths` of them; int64 of shape (n,)."""

    def __init__(self, data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        self.data = data
        self.starts = starts
        self.lengths = lengths
        self._whole: tuple[Text, NDArray[Any]] | None = None

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
        part = Text(self.data, self.starts[rows], self.lengths[rows])
        part._whole = self, rows
        return part

    def values(self) -> list[bytes]:
        """Return each text."""
        data, ends = self.data, self.starts + self.lengths
        return [data[a:b] for a, b in zip(self.starts.tolist(), ends.tolist(), strict=True)]

    def equals(self, value: bytes) -> NDArray[np.bool_]:
        """Tell which texts are just this."""
        return self._begins(value, self.lengths == len(value))

    def starts_with(self, value: bytes) -> NDArray[np.bool_]:
        """Tell which texts begin with this."""
        return self._begins(value, self.lengths >= len(value))

    def ends_with(self, value: bytes) -> NDArray[np.bool_]:
        """Tell which texts end with this."""
        word, mask = _word(value[-_WORD:].rjust(_WORD, b"\0"), value[-_WORD:], last=True)
        rows = np.flatnonzero(((self._tails & mask) == word) & (self.lengths >= len(value)))
        starts = self.starts + self.lengths - len(value) if len(rows) else self.starts
        return self._found(rows, starts, value[:-_WORD])

    def _begins(self, value: bytes, fit: NDArray[np.bool_]) -> NDArray[np.bool_]:
        word, mask = _word(value[:_WORD].ljust(_WORD, b"\0"), value[:_WORD], last=False)
        rows = np.flatnonzero(((self._heads & mask) == word) & fit)
        return self._found(rows, self.starts + _WORD, value[_WORD:])

    @cached_property
    def _heads(self) -> Words:
        """The first bytes of each text, as numbers; of a shorter one, zero behind them."""
        if self._whole is not None:
            whole, rows = self._whole
            part: Words = whole._heads[rows]
            return part
        return self._words(self.starts[:, None] + _PLACES, self.lengths[:, None] > _PLACES)

    @cached_property
    def _tails(self) -> Words:
        """The last bytes of each text; of a shorter one, zero before them."""
        if self._whole is not None:
            whole, rows = self._whole
            part: Words = whole._tails[rows]
            return part
        places = _PLACES - _WORD + self.lengths[:, None]
        return self._words(self.starts[:, None] + places, places >= 0)

    def _words(self, places: NDArray[np.int64], valid: NDArray[np.bool_]) -> Words:
        if not self.data:
            return np.zeros(len(self), np.uint64)
        found = self._bytes[places.clip(0, len(self.data) - 1)]
        return np.where(valid, found, np.uint8(0)).view("<u8").reshape(-1)

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


def _word(padded: bytes, value: bytes, *, last: bool) -> tuple[np.uint64, np.uint64]:
    """Return what `_heads` or `_tails` have of a value, and the bits of them that it is."""
    bits = 8 * len(value)
    mask = (1 << bits) - 1
    return (
        np.uint64(int.from_bytes(padded, "little")),
        np.uint64(mask << (64 - bits) if last else mask),
    )
