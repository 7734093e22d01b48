# SPDX-License-Identifier: Apache-2.0
"""The latest of each node on one job, packed: thousands of nodes times dozens of jobs are kept."""

from struct import Struct
from typing import NamedTuple

from eunomia_operator.tally import Tally

# 1 + state (0: there is none), pods, gaps, then a Tally.
_PACKED = Struct("<BII6Q")


class Record(NamedTuple):
    """What a node said last."""

    state: int
    pods: int
    gaps: int
    tally: Tally


class Slots:
    """Small numbers for the names of nodes, the same in the records of all jobs."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []

    def find(self, node: str) -> int | None:
        """Return the number of a node; None when it has none."""
        return self._numbers.get(node)

    def take(self, node: str) -> int:
        """Return the number of a node; give it one when it has none."""
        number = self._numbers.get(node)
        if number is None:
            number = self._free.pop() if self._free else len(self._numbers)
            self._numbers[node] = number
        return number

    def release(self, node: str) -> None:
        """Let another node have the number of one of which no record is left."""
        number = self._numbers.pop(node, None)
        if number is not None:
            self._free.append(number)


class Records:
    """Records by the name of a node."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._packed = bytearray()

    def __contains__(self, node: str) -> bool:
        return self._find(node) is not None

    def get(self, node: str) -> Record | None:
        """Return the record of a node."""
        offset = self._find(node)
        if offset is None:
            return None
        state, pods, gaps, *tally = _PACKED.unpack_from(self._packed, offset)
        return Record(state - 1, pods, gaps, Tally(*tally))

    def put(self, node: str, record: Record) -> None:
        """Keep a record in the place of the one before."""
        offset = self._slots.take(node) * _PACKED.size
        missing = offset + _PACKED.size - len(self._packed)
        if missing > 0:
            self._packed.extend(bytes(missing))
        tally = record.tally
        _PACKED.pack_into(
            self._packed,
            offset,
            record.state + 1,
            record.pods,
            record.gaps,
            tally.matched,
            tally.delivered,
            tally.lost,
            tally.limited,
            tally.sampled_out,
            tally.unclassified,
        )

    def remove(self, node: str) -> None:
        """Keep no record of a node."""
        offset = self._find(node)
        if offset is not None:
            self._packed[offset] = 0

    def set_all(self, state: int) -> int:
        """Put all nodes into one state; return how many there are."""
        present = [at for at in range(0, len(self._packed), _PACKED.size) if self._packed[at]]
        for offset in present:
            self._packed[offset] = state + 1
        return len(present)

    def _find(self, node: str) -> int | None:
        number = self._slots.find(node)
        if number is None:
            return None
        offset = number * _PACKED.size
        return offset if offset < len(self._packed) and self._packed[offset] else None
