# SPDX-License-Identifier: Apache-2.0
"""Memory that is used again: its pages need not be asked of the kernel for each batch."""

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 1 << 16
MAX_KEPT = 8 << 20
"""Bytes of what is kept for the next one; a larger buffer goes back to the kernel."""

Buffer = NDArray[np.uint8]


class Buffers:
    """Lends buffers, and gets each one back when nothing refers to it any more.

    May be used by several threads: each gets a buffer of its own, and one is kept.
    """

    def __init__(self) -> None:
        self._kept: list[Buffer] = []

    def take(self, size: int) -> Buffer:
        """Return a buffer of at least `size` bytes, with anything in it."""
        try:
            kept = self._kept.pop()
        except IndexError:
            return np.empty(max(size, LEAST), np.uint8)
        return kept if len(kept) >= size else np.empty(size, np.uint8)

    def larger(self, buffer: Buffer, used: int) -> Buffer:
        """Return a buffer of twice the size, which begins with the first `used` bytes."""
        twice = np.empty(2 * len(buffer), np.uint8)
        twice[:used] = buffer[:used]
        return twice

    def lend(self, buffer: Buffer, used: int) -> memoryview:
        """Return the first `used` bytes. When no view of them is left, the buffer is free again."""
        shown: Any = buffer[:used]
        weakref.finalize(shown, self._give_back, buffer).atexit = False
        return memoryview(shown)

    def _give_back(self, buffer: Buffer) -> None:
        if len(buffer) <= MAX_KEPT and not self._kept:
            self._kept.append(buffer)
