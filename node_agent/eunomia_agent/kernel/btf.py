# SPDX-License-Identifier: Apache-2.0
"""Reads BTF, the description of types that an object carries.

Source: Documentation/bpf/btf.rst of the kernel.
"""

import struct
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from eunomia_agent.kernel import elf
from eunomia_agent.kernel.errors import ObjectInvalid
from eunomia_agent.kernel.types import (
    Array,
    Enum,
    Float,
    Function,
    Int,
    Member,
    Other,
    Pointer,
    Prototype,
    Reference,
    Section,
    Struct,
    Type,
    Variable,
    Void,
)

HEADER = struct.Struct("=HBBIIIII")
TYPE = struct.Struct("=III")
MAGIC = 0xEB9F
MAX_DEPTH = 32


class Btf:
    """All types of one object, by id."""

    def __init__(self, types: Sequence[Type]) -> None:
        self.types = types

    @classmethod
    def parse(cls, data: bytes) -> "Btf":
        """Read the content of a .BTF section. Raises ObjectInvalid."""
        try:
            types = [Void(), *_types(data)]
        except (struct.error, ValueError) as error:
            raise ObjectInvalid(f"its BTF cannot be read: {error}") from error
        farthest = max(max(_references(found), default=0) for found in types)
        if farthest >= len(types):
            raise ObjectInvalid(f"its BTF names type {farthest} of {len(types)}")
        for found in types:
            if isinstance(found, Function) and not isinstance(types[found.type_id], Prototype):
                raise ObjectInvalid(f"its BTF has no prototype of the function {found.name!r}")
        return cls(types)

    @classmethod
    def of_object(cls, data: bytes) -> "Btf":
        """Read the BTF of a whole object file. Raises ObjectInvalid."""
        return cls.parse(elf.section(data, ".BTF"))

    def __getitem__(self, type_id: int) -> Type:
        if not 0 <= type_id < len(self.types):
            raise ObjectInvalid(f"its BTF names type {type_id} of {len(self.types)}")
        return self.types[type_id]

    def resolve(self, type_id: int) -> tuple[str, Type]:
        """Follow typedefs and qualifiers; return the outermost typedef's name ("") and the type."""
        meaning = ""
        for _ in range(MAX_DEPTH):
            found = self[type_id]
            if not isinstance(found, Reference):
                return meaning, found
            if found.is_typedef and not meaning:
                meaning = found.name
            type_id = found.type_id
        raise ObjectInvalid("its BTF has a typedef of itself")

    def size(self, type_id: int, depth: int = 0) -> int:
        """Return the size of a type in bytes; 0 where it has none."""
        found = self.resolve(type_id)[1]
        match found:
            case Int() | Float() | Enum() | Struct():
                return found.size
            case Pointer():
                return 8
            case Array() if depth < MAX_DEPTH:
                return found.count * self.size(found.element_id, depth + 1)
            case _:
                return 0

    def section(self, name: str) -> dict[str, tuple[int, int, int]]:
        """Return the variables of a data section: name → (type id, offset, size)."""
        for found in self.types:
            if isinstance(found, Section) and found.name == name:
                return dict(self._variables(found))
        return {}

    def _variables(self, section: Section) -> Iterator[tuple[str, tuple[int, int, int]]]:
        for variable_id, offset, size in section.variables:
            variable = self[variable_id]
            if isinstance(variable, Variable):
                yield variable.name, (variable.type_id, offset, size)

    def maps(self) -> dict[str, dict[str, int]]:
        """Return what each map in .maps declares: name → {"key": type id, "value": type id}.

        In C, `__type(value, struct event)` declares a pointer to it: libbpf's bpf_helpers.h.
        """
        found: dict[str, dict[str, int]] = {}
        for name, (type_id, _, _) in self.section(".maps").items():
            declared = self.resolve(type_id)[1]
            if not isinstance(declared, Struct):
                continue
            roles = found.setdefault(name, {})
            for member in declared.members:
                pointer = self.resolve(member.type_id)[1]
                if member.name in ("key", "value") and isinstance(pointer, Pointer):
                    roles[member.name] = pointer.type_id
        return found


def _references(found: Type) -> list[int]:
    match found:
        case Reference() | Pointer() | Variable() | Function():
            return [found.type_id]
        case Prototype() | Other():
            return list(found.type_ids)
        case Array():
            return [found.element_id]
        case Struct():
            return [member.type_id for member in found.members]
        case Section():
            return [variable for variable, _, _ in found.variables]
        case _:
            return []


def _types(data: bytes) -> Iterator[Type]:
    magic, version, _, header_size, type_start, type_size, text_start, text_size = (
        HEADER.unpack_from(data)
    )
    if magic != MAGIC or version != 1:
        raise ObjectInvalid(f"its BTF begins with {magic:#x}, version {version}")
    text = data[header_size + text_start :][:text_size]
    records = data[header_size + type_start :][:type_size]
    if len(text) < text_size or len(records) < type_size:
        raise ObjectInvalid("its BTF is cut off")
    offset = 0
    while offset < len(records):
        name_offset, info, size_or_type = TYPE.unpack_from(records, offset)
        offset += TYPE.size
        reader = _Reader(records, offset, text)
        yield reader.read(info >> 24 & 0x1F, name_offset, info & 0xFFFF, info >> 31, size_or_type)
        offset = reader.offset


class _Reader:
    """Reads what follows the head of one type: from `offset` on, which it moves."""

    def __init__(self, records: bytes, offset: int, text: bytes) -> None:
        self._records = records
        self.offset = offset
        self._text = text

    def read(self, kind: int, name_offset: int, count: int, flag: int, size: int) -> Type:
        """Return one type. size: its size in bytes, or the id of the type that it refers to."""
        name = self._name(name_offset)
        match kind:
            case 4 | 5:
                return Struct(name, size, self._members(count, flag), kind == 5)
            case 6 | 19:
                values = self._values(count) if kind == 6 else self._long_values(count)
                return Enum(name, size, MappingProxyType(values))
            case 8 | 9 | 10 | 11 | 18:
                return Reference(name, size, kind == 8)
            case 2:
                return Pointer(size)
            case 16:
                return Float(name, size)
            case _:
                return self._rarer(kind, name, count, size)

    def _rarer(self, kind: int, name: str, count: int, size: int) -> Type:
        match kind:
            case 1:
                (bits,) = self._words("I")
                return Int(name, size, bool(bits >> 24 & 1), bool(bits >> 24 & 4))
            case 3:
                element, _, length = self._words("III")
                return Array(element, length)
            case 14:
                self._words("I")  # linkage
                return Variable(name, size)
            case 15:
                entries = [self._words("III") for _ in range(count)]
                return Section(name, [(entry[0], entry[1], entry[2]) for entry in entries])
            case _:
                return self._unseen(kind, name, count, size)

    def _unseen(self, kind: int, name: str, count: int, size: int) -> Type:
        match kind:
            case 7:
                return Other(name)
            case 12:
                return Function(name, size)
            case 13:  # name and type of each argument
                return Prototype([size, *self._words("II" * count)[1::2]])
            case 17:
                self._words("I")  # of which member or argument
                return Other(name, [size])
            case _:
                raise ObjectInvalid(f"its BTF has a type of kind {kind}, which is not known here")

    def _name(self, start: int) -> str:
        end = self._text.index(b"\0", start)
        return self._text[start:end].decode()

    def _words(self, pattern: str) -> tuple[int, ...]:
        values: tuple[int, ...] = struct.unpack_from(f"={pattern}", self._records, self.offset)
        self.offset += struct.calcsize(f"={pattern}")
        return values

    def _values(self, count: int) -> dict[int, str]:
        # signed, whatever the flag says: clang before 15 never sets it, and columns read so too
        pairs = [self._words("Ii") for _ in range(count)]
        return {value: self._name(start) for start, value in pairs}

    def _long_values(self, count: int) -> dict[int, str]:
        triples = [self._words("III") for _ in range(count)]
        return {high << 32 | low: self._name(start) for start, low, high in triples}

    def _members(self, count: int, flag: int) -> list[Member]:
        members: list[Member] = []
        for _ in range(count):
            start, type_id, place = self._words("III")
            offset, bits = (place & 0xFFFFFF, place >> 24) if flag else (place, 0)
            members.append(Member(self._name(start), type_id, offset, bits))
        return members
