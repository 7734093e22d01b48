# SPDX-License-Identifier: Apache-2.0
"""Ring buffers: libbpf's own reader, with a callback in C that gathers records into a batch."""

import ctypes
from ctypes import c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, Self

from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.libbpf import check, check_pointer, library
from eunomia_agent.kernel.map import RINGBUF, Map

FULL = -4095
"""What gather.c returns when the batch may have no room for another record."""
GATHER = Path(__file__).with_name("libgather.so")


class Gather(ctypes.Structure):
    """`struct gather` of gather.c."""

    _fields_ = (
        ("fixed", c_void_p),
        ("tail", c_void_p),
        ("tail_start", c_void_p),
        ("fixed_size", c_uint64),
        ("tail_limit", c_uint64),
        ("capacity", c_uint64),
        ("tail_capacity", c_uint64),
        ("count", c_uint64),
        ("tail_used", c_uint64),
        ("malformed", c_uint64),
    )


@cache
def _gather() -> Any:
    try:
        return ctypes.CDLL(str(GATHER)).gather_record
    except (OSError, AttributeError) as error:
        raise KernelError(f"{GATHER.name} cannot be loaded ({error}); build it anew") from error


class RingBuffer:
    """The one reader of a ring buffer.

    fixed_size: bytes of the fixed part of a record; tail_limit: the most bytes that may follow.
    """

    def __init__(self, ring: Map, fixed_size: int, tail_limit: int) -> None:
        if ring.kind != RINGBUF:
            raise KernelError(f"map {ring.name} is not a ring buffer")
        self.fd = ring.fd
        self._bpf = library()
        self._state = Gather(fixed_size=fixed_size, tail_limit=tail_limit)
        self._pointer: int | None = check_pointer(
            self._bpf.ring_buffer__new(self.fd, _gather(), ctypes.byref(self._state), None),
            f"ring buffer {ring.name} cannot be read",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def malformed(self) -> int:
        """Records that were shorter than the fixed part, or longer than they may be, ever."""
        return int(self._state.malformed)

    def consume(
        self, fixed: int, tail: int, tail_start: int, *, capacity: int, tail_capacity: int
    ) -> tuple[int, int, bool]:
        """Fill buffers at these addresses; return records, bytes of their tails, whether full.

        capacity: records that `fixed` (fixed_size bytes each) and `tail_start` (8 bytes each)
        hold; tail_capacity: bytes of `tail`, at least tail_limit.
        """
        if self._pointer is None:
            raise KernelError("the ring buffer's reader is closed")
        if capacity < 1 or tail_capacity < self._state.tail_limit:
            raise KernelError("a batch must have room for one record")
        state = self._state
        state.fixed, state.tail, state.tail_start = fixed, tail, tail_start
        state.capacity, state.tail_capacity = capacity, tail_capacity
        state.count = state.tail_used = 0
        result = self._bpf.ring_buffer__consume(self._pointer)
        if result != FULL:
            check(result, "the ring buffer cannot be read")
        return int(state.count), int(state.tail_used), result == FULL

    def close(self) -> None:
        """Unmap the ring. May be called again."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._bpf.ring_buffer__free(pointer)
