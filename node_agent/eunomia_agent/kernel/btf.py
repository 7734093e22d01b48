# SPDX-License-Identifier: Apache-2.0
"""Reads BTF, the description of types that an object carries.

Source: Documentation/bpf/btf.rst and include/uapi/linux/btf.h of the kernel.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from eunomia_agent.kernel import elf
from eunomia_agent.kernel.errors import ObjectInvalid

HEADER = struct.Struct("=HBBIIIII")
TYPE = struct.Struct("=III")
MAGIC = 0xEB9F
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Void:
    """No type: what `void *` points to."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Int:
    """An integer of `size` bytes."""

    name: str
    size: int
    signed: bool
    is_bool: bool


@dataclass(frozen=True, slots=True)
class Float:
    """A floating-point number of `size` bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Enum:
    """An enumeration of `size` bytes."""

    name: str
    size: int
    values: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union; bits: 0 unless it is a bit field."""

    name: str
    type_id: int
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct or union of `size` bytes."""

    name: str
    size: int
    members: Sequence[Member]
    is_union: bool


@dataclass(frozen=True, slots=True)
class Array:
    """`count` elements of one type, one after the other."""

    element_id: int
    count: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name or a qualifier for another type: typedef, const, volatile, restrict, type tag."""

    name: str
    type_id: int
    is_typedef: bool


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer."""

    type_id: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """A global variable."""

    name: str
    type_id: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section of data: for each variable (type id of the Variable, offset, size)."""

    name: str
    variables: Sequence[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Other:
    """What layouts never meet: functions, forward declarations, tags."""

    name: str


Type = (
    Void | Int | Float | Enum | Struct | Array | Reference | Pointer | Variable | Section | Other
)

_REFERENCES = {8: True, 9: False, 10: False, 11: False, 18: False}  # kind → is a typedef


class Btf:
    """All types of one object, by id."""

    def __init__(self, types: Sequence[Type]) -> None:
        self.types = types

    @classmethod
    def parse(cls, data: bytes) -> "Btf":
        """Read the content of a .BTF section. Raises ObjectInvalid."""
        try:
            return cls([Void(), *_types(data)])
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise ObjectInvalid(f"its BTF cannot be read: {error}") from error

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
        yield reader.read(
            kind=info >> 24 & 0x1F,
            name=reader.text(name_offset),
            count=info & 0xFFFF,
            flag=info >> 31,
            size=size_or_type,
        )
        offset = reader.offset


class _Reader:
    """Reads what follows the head of one type."""

    def __init__(self, records: bytes, offset: int, text: bytes) -> None:
        self._records = records
        self.offset = offset
        self._text = text

    def text(self, start: int) -> str:
        end = self._text.index(b"\0", start) if start < len(self._text) else -1
        if end < 0:
            raise ObjectInvalid("its BTF has a name that is cut off")
        return self._text[start:end].decode()

    def _words(self, pattern: str) -> tuple[int, ...]:
        values: tuple[int, ...] = struct.unpack_from(f"={pattern}", self._records, self.offset)
        self.offset += struct.calcsize(f"={pattern}")
        return values

    def read(self, *, kind: int, name: str, count: int, flag: int, size: int) -> Type:  # noqa: PLR0911
        match kind:
            case 1:
                (bits,) = self._words("I")
                encoding = bits >> 24 & 0xF
                return Int(name, size, bool(encoding & 1), bool(encoding & 4))
            case 2:
                return Pointer(size)
            case 3:
                element, _, length = self._words("III")
                return Array(element, length)
            case 4 | 5:
                return Struct(name, size, self._members(count, flag), kind == 5)
            case 6:
                pairs = [self._words("Ii" if flag else "II") for _ in range(count)]
                values = {value: self.text(start) for start, value in pairs}
                return Enum(name, size, MappingProxyType(values))
            case 19:
                triples = [self._words("III") for _ in range(count)]
                return Enum(
                    name,
                    size,
                    MappingProxyType({high << 32 | low: self.text(s) for s, low, high in triples}),
                )
            case 14:
                self._words("I")
                return Variable(name, size)
            case 15:
                entries = [self._words("III") for _ in range(count)]
                return Section(name, [(entry[0], entry[1], entry[2]) for entry in entries])
            case 16:
                return Float(name, size)
            case _ if kind in _REFERENCES:
                return Reference(name, size, _REFERENCES[kind])
            case 13:  # function prototype: name and type of each argument
                self._words("II" * count)
                return Other(name)
            case 17:  # tag of a declaration
                self._words("I")
                return Other(name)
            case 7 | 12:  # forward declaration, function
                return Other(name)
            case _:
                raise ObjectInvalid(f"its BTF has a type of kind {kind}, which is not known here")

    def _members(self, count: int, flag: int) -> list[Member]:
        members: list[Member] = []
        for _ in range(count):
            start, type_id, place = self._words("III")
            offset, bits = (place & 0xFFFFFF, place >> 24) if flag else (place, 0)
            members.append(Member(self.text(start), type_id, offset, bits))
        return members
