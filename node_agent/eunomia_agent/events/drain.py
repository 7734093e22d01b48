# SPDX-License-Identifier: Apache-2.0
"""Drains a ring buffer into batches, soon after its first record and before it is full."""

import select
from typing import Self

import numpy as np

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Layout
from eunomia_agent.kernel.map import Map
from eunomia_agent.kernel.ringbuf import RingBuffer

DELAY = 0.02
"""Seconds from the first record's wake to the drain, so that it is worth it."""
MAX_TAIL = 1 << 16
"""No reference reaches further: its offset has 16 bits."""
LARGEST_BATCH = 4 << 20
LEAST_BATCH = 1 << 16


class Drain:
    """The reader of one ring buffer.

    The kernel's side wakes it with the record that finds the ring empty, and once more when the
    ring is half full (events.h). Watch fileno() for readability; when it is readable, woken() says
    in how many seconds to call drain(). While `more` is true there may be more in the ring than
    one batch holds: call drain() again, after the turn of others.
    """

    def __init__(
        self, ring: Map, layout: Layout, *, delay: float = DELAY, batch_bytes: int | None = None
    ) -> None:
        size = batch_bytes or min(LARGEST_BATCH, ring.max_entries)
        size = max(LEAST_BATCH, size)
        self.layout = layout
        self.more = False
        self._delay = delay
        self._waiting = False
        self._fixed = np.empty(max(1, size // layout.size), layout.dtype)
        self._tail_start = np.empty(len(self._fixed), np.uint64)
        self._tail = np.empty(size + MAX_TAIL, np.uint8)
        self._ring = RingBuffer(ring, layout.size, MAX_TAIL)
        self._epoll = select.epoll()
        try:
            self._epoll.register(ring.fd, select.EPOLLIN | select.EPOLLET)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return what to watch: readable from a wake until woken() is called."""
        return self._epoll.fileno()

    def woken(self) -> float:
        """Take note of a wake; return in how many seconds to drain: soon, or now if once more."""
        self._epoll.poll(0)
        once_more, self._waiting = self._waiting, True
        return 0.0 if once_more else self._delay

    @property
    def malformed(self) -> int:
        """Records that did not fit the layout, ever. They are in no batch."""
        return self._ring.malformed

    def drain(self) -> Batch:
        """Return what stands in the ring, as far as one batch holds it. Raises KernelError."""
        self._waiting = False
        count, tail_used, self.more = self._ring.consume(
            self._fixed.ctypes.data,
            self._tail.ctypes.data,
            self._tail_start.ctypes.data,
            capacity=len(self._fixed),
            tail_capacity=len(self._tail),
        )
        return Batch(
            self.layout,
            self._fixed[:count].copy(),
            self._tail[:tail_used].tobytes(),
            self._tail_start[:count].copy(),
        )

    def close(self) -> None:
        """Stop reading. May be called again."""
        self._ring.close()
        self._epoll.close()
