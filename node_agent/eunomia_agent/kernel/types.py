# SPDX-License-Identifier: Apache-2.0
"""The kinds of types that BTF knows: include/uapi/linux/btf.h of the kernel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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
class Function:
    """A function, and its Prototype."""

    name: str
    type_id: int


@dataclass(frozen=True, slots=True)
class Prototype:
    """What a function returns, and the types of its arguments behind it."""

    type_ids: Sequence[int]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """What layouts never meet: a forward declaration; a tag, with the type that it is on."""

    name: str
    type_ids: Sequence[int] = ()


Type = (
    Void
    | Int
    | Float
    | Enum
    | Struct
    | Array
    | Reference
    | Pointer
    | Variable
    | Section
    | Function
    | Prototype
    | Other
)
