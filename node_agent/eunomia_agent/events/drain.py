# SPDX-License-Identifier: Apache-2.0
"""Drains a ring buffer into batches, soon after its first record and before it is full."""

import select
import time
from typing import Self

import numpy as np

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.buffers import Buffers
from eunomia_agent.events.layout import Layout
from eunomia_agent.kernel.map import Map
from eunomia_agent.kernel.ringbuf import RingBuffer

DELAY = 0.02
"""Seconds from the first record's wake to the drain, so that it is worth it."""
LONGEST_DELAY = 5 * DELAY
"""While records come without a pause: a batch costs something for each owner that is in it."""
HURRIED_DELAY = DELAY / 10
"""Instead of DELAY, where somebody has to hear of a row soon."""
LONGEST_HURRIED_DELAY = 4 * DELAY
"""While records come without a pause, then."""
PAUSE = 10 * DELAY
"""Without a record for so long, the next one is drained soon again."""
MAX_TAIL = 1 << 16
"""No reference reaches further: its offset has 16 bits."""
LARGEST_BATCH = 1 << 20
"""Bytes of fixed parts: a batch, and the rows made of it, stay in the processor's cache."""
LEAST_BATCH = 1 << 16
BUFFERS = Buffers()
"""What all readers fill: as long as a batch is in use, its buffer is not used for another."""


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
        self._least_delay = self._delay = delay
        self._longest_delay = LONGEST_DELAY
        self._drained_at = 0.0
        self._waiting = False
        self._capacity = max(1, size // layout.size)
        self._tail_capacity = size + MAX_TAIL
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
        if once_more:
            return 0.0
        if time.monotonic() - self._drained_at > PAUSE:
            self._delay = self._least_delay
        else:
            self._delay = min(self._longest_delay, 2 * self._delay)
        return self._delay

    def hurry(self) -> None:
        """Let no record wait long from now on, and one that comes after a pause hardly at all."""
        self._least_delay, self._longest_delay = HURRIED_DELAY, LONGEST_HURRIED_DELAY

    @property
    def malformed(self) -> int:
        """Records that did not fit the layout, ever. They are in no batch."""
        return self._ring.malformed

    def drain(self) -> Batch:
        """Return what stands in the ring, as far as one batch holds it. Raises KernelError."""
        self._waiting = False
        self._drained_at = time.monotonic()
        fixed_at = self._capacity * _START.itemsize
        tail_at = fixed_at + self._capacity * self.layout.size
        size = tail_at + self._tail_capacity
        buffer = BUFFERS.take(size)
        address: int = buffer.ctypes.data
        count, tail_used, self.more = self._ring.consume(
            address + fixed_at,
            address + tail_at,
            address,
            capacity=self._capacity,
            tail_capacity=self._tail_capacity,
        )
        lent = BUFFERS.lend(buffer, size)
        return Batch(
            self.layout,
            np.frombuffer(lent, self.layout.dtype, count, fixed_at),
            bytes(lent[tail_at : tail_at + tail_used]),
            np.frombuffer(lent, _START, count),
        )

    def close(self) -> None:
        """Stop reading. May be called again."""
        self._ring.close()
        self._epoll.close()


_START = np.dtype(np.uint64)
