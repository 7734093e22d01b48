# SPDX-License-Identifier: Apache-2.0
"""Finds sections in an ELF file: as much of elf(5) as it takes to read BTF without libbpf."""

import struct
import sys
from collections.abc import Iterator

from eunomia_agent.kernel.errors import ObjectInvalid

HEADER = struct.Struct("=16sHHIQQQIHHHHHH")
SECTION = struct.Struct("=IIQQQQIIQQ")
MACHINE_BPF = 247
PROGRAM_BITS = 1
NO_BITS = 8
EXECUTABLE = 4
BYTE_ORDER = {"little": 1, "big": 2}


def section(data: bytes, wanted: str) -> bytes:
    """Return the content of a section of a 64-bit BPF object.

    Raises ObjectInvalid for a file that is cut off, is for another machine or lacks the section.
    """
    for name, header in _sections(data):
        if name == wanted:
            return _content(data, header)
    raise ObjectInvalid(f"has no section {wanted}; compile it with clang -g")


def program_sections(data: bytes) -> frozenset[str]:
    """Return the names of the sections that hold programs. Raises ObjectInvalid."""
    return frozenset(
        name
        for name, header in _sections(data)
        if header[1] == PROGRAM_BITS and header[2] & EXECUTABLE and name != ".text"
    )


def _sections(data: bytes) -> Iterator[tuple[str, tuple[int, ...]]]:
    if len(data) < HEADER.size or data[:4] != b"\x7fELF":
        raise ObjectInvalid("not an ELF file")
    if data[4] != 2 or data[5] != BYTE_ORDER[sys.byteorder]:
        raise ObjectInvalid(f"not a 64-bit {sys.byteorder}-endian ELF file")
    header = HEADER.unpack_from(data)
    machine, table, entry_size, count, names_index = (header[i] for i in (2, 6, 11, 12, 13))
    if machine != MACHINE_BPF:
        raise ObjectInvalid(f"made for machine {machine} of the ELF numbering, not for BPF")
    if entry_size != SECTION.size or table + count * SECTION.size > len(data):
        raise ObjectInvalid("its table of sections is cut off")
    headers = [SECTION.unpack_from(data, table + i * SECTION.size) for i in range(count)]
    if names_index >= count:
        raise ObjectInvalid("its sections have no names")
    names = _content(data, headers[names_index])
    for found in headers:
        name = names[found[0] :].split(b"\0", 1)[0]
        yield name.decode(errors="backslashreplace"), found


def _content(data: bytes, header: tuple[int, ...]) -> bytes:
    kind, offset, size = header[1], header[4], header[5]
    if kind == NO_BITS:
        return b""
    if offset + size > len(data):
        raise ObjectInvalid("one of its sections is cut off")
    return data[offset : offset + size]
