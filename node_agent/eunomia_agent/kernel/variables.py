# SPDX-License-Identifier: Apache-2.0
"""The `const volatile` variables of an object: what a tracker's params are in C."""

import ctypes
import sys
from collections.abc import Iterator, Mapping

from eunomia_agent.kernel.btf import Btf
from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.types import Array, Enum, Int


class Variables(Mapping[str, bytes]):
    """Name → the bytes that the variable holds. place: address and size of their section."""

    def __init__(self, owner: str, btf: Btf, place: tuple[int, int]) -> None:
        self._owner = owner
        self._btf = btf
        self._address, size = place
        self._variables = {
            name: (type_id, offset, length)
            for name, (type_id, offset, length) in btf.section(".rodata").items()
            if offset + length <= size
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __getitem__(self, name: str) -> bytes:
        _, offset, size = self._variables[name]
        return ctypes.string_at(self._address + offset, size)

    def set(self, name: str, value: bool | int | str | bytes) -> None:
        """Set a variable; bytes: as it lies in memory.

        Raises KernelError for an unknown one, or a value that does not fit.
        """
        if name not in self._variables:
            known = ", ".join(self) or "none"
            raise KernelError(f"{self._owner} has no variable {name}; there are: {known}")
        _, offset, size = self._variables[name]
        content = self._encoded(name, value)
        ctypes.memmove(self._address + offset, content.ljust(size, b"\0"), size)

    def _encoded(self, name: str, value: bool | int | str | bytes) -> bytes:
        type_id, _, size = self._variables[name]
        found = self._btf.resolve(type_id)[1]
        match found, value:
            case Int(is_bool=True), bool():
                return bytes([value])
            case Int(is_bool=False) | Enum(), int() if not isinstance(value, bool):
                signed = isinstance(found, Int) and found.signed
                try:
                    return value.to_bytes(size, sys.byteorder, signed=signed)
                except OverflowError:
                    pass
            case Array(), str() if len(value.encode()) < size:
                return value.encode()
            case _, bytes() if len(value) == size:
                return value
            case _:
                pass
        raise KernelError(f"{self._owner}: {value!r} does not fit into variable {name}")
