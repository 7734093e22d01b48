# SPDX-License-Identifier: Apache-2.0
"""What each node said last, packed: thousands of nodes times dozens of objects are kept."""

from collections.abc import Iterable
from struct import Struct


class Slots:
    """Small numbers for the names of nodes, the same in the rows of all objects."""

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
        """Let another node have the number of one of which no row is left."""
        number = self._numbers.pop(node, None)
        if number is not None:
            self._free.append(number)


class Rows:
    """Rows of whole numbers by the name of a node."""

    def __init__(self, slots: Slots, fields: str) -> None:
        """fields: the type of each number, as for `struct`."""
        # The first byte tells whether there is a row.
        self._struct = Struct(f"<?{fields}")
        self._slots = slots
        self._packed = bytearray()

    def __contains__(self, node: str) -> bool:
        return self._find(node) is not None

    def get(self, node: str) -> tuple[int, ...] | None:
        """Return the row of a node."""
        offset = self._find(node)
        return None if offset is None else self._struct.unpack_from(self._packed, offset)[1:]

    def put(self, node: str, row: Iterable[int]) -> None:
        """Keep a row in the place of the one before."""
        offset = self._slots.take(node) * self._struct.size
        missing = offset + self._struct.size - len(self._packed)
        if missing > 0:
            self._packed.extend(bytes(missing))
        self._struct.pack_into(self._packed, offset, True, *row)

    def remove(self, node: str) -> None:
        """Keep no row of a node."""
        offset = self._find(node)
        if offset is not None:
            self._packed[offset] = 0

    def set_all(self, first: int) -> int:
        """Put one value into the first number, a byte, of all rows; return how many there are."""
        size = self._struct.size
        present = [at for at in range(0, len(self._packed), size) if self._packed[at]]
        for offset in present:
            self._packed[offset + 1] = first
        return len(present)

    def _find(self, node: str) -> int | None:
        number = self._slots.find(node)
        if number is None:
            return None
        offset = number * self._struct.size
        return offset if offset < len(self._packed) and self._packed[offset] else None
