# SPDX-License-Identifier: Apache-2.0
"""Stacks: the addresses that stand for the numbers in a table's rows. See stacks.h.

The kernel keeps each stack once (BPF_MAP_TYPE_STACK_TRACE, kernel/bpf/stackmap.c): innermost
address first, then zeros.
"""

import struct
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ADDRESS_BYTES = 8
ID = struct.Struct("=i")


class Traces(Protocol):
    """What is used of the kernel's map of stacks."""

    def lookup(self, key: bytes) -> bytes | None:
        """Return a stack, or None."""
        ...

    def delete_many(self, keys: bytes) -> object:
        """Delete stacks that are there."""
        ...


def resolve(
    fixed: NDArray[Any], columns: Sequence[str], size: int, traces: Traces
) -> tuple[bytes, NDArray[np.uint64]]:
    """Put references to addresses in the place of ids; return the tail and where each row's begins.

    fixed: rows of `size` bytes each, whose columns hold ids; a stack that the kernel could not
    keep, whose id is negative, or that is gone, becomes an empty one.
    """
    ids = np.unique(np.concatenate([fixed[name].astype(np.int32) for name in columns]))
    known = {number: _addresses(traces, number) for number in ids.tolist()}
    parts: list[bytes] = []
    starts = np.zeros(len(fixed), np.uint64)
    at = 0
    for row in range(len(fixed)):
        starts[row] = at
        offset = size
        for name in columns:
            stack = known[int(fixed[name][row].astype(np.int32))]
            fixed[name][row] = len(stack) << 16 | offset if stack else 0
            parts.append(stack)
            offset += len(stack)
        at += offset - size
    return b"".join(parts), starts


def drop(ids: NDArray[np.int32], still: NDArray[np.int32], traces: Traces) -> None:
    """Make room for other stacks: forget those that no row in the table names any more.

    One that a program names again at this moment is then shown as empty.
    """
    over = np.setdiff1d(ids[ids >= 0], still)
    traces.delete_many(over.astype(np.int32).tobytes())


def _addresses(traces: Traces, number: int) -> bytes:
    if number < 0:
        return b""
    stack = traces.lookup(ID.pack(number)) or b""
    addresses = np.frombuffer(stack, np.uint64)
    empty = np.flatnonzero(addresses == 0)
    return stack[: int(empty[0]) * ADDRESS_BYTES] if len(empty) else stack
