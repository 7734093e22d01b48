# SPDX-License-Identifier: Apache-2.0
"""The columns of a struct, out of an object's BTF.

Free of numpy until a dtype is asked for: the build reads layouts too.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from eunomia_agent.kernel.btf import Btf
from eunomia_agent.kernel.errors import ObjectInvalid
from eunomia_agent.kernel.types import Array, Enum, Float, Int, Pointer, Struct

if TYPE_CHECKING:
    import numpy as np

Source = Literal["events", "counts", "histogram", "stacks"]
Kind = Literal["int", "uint", "bool", "float", "enum", "flags", "chars", "bytes", "list"]
JsonType = Literal["boolean", "integer", "number", "string", "array"]

REFERENCES = frozenset({"string_t", "path_t", "args_t", "stack_t"})
"""Typedefs of u32 whose low half is an offset from the record's start, and high half a length."""
SHOWN_AS_TEXT = REFERENCES | {
    *("errno_t", "signal_t", "syscall_t", "capability_t", "file_type_t", "open_flags_t"),
    *("file_mode_t", "device_t", "ipc_key_t", "ipv4_t", "boot_ns_t"),
}
"""Typedefs of numbers that rows show as text."""
SLOTS = "log2_t[]"
"""The meaning of a list of log2_t, of any length: the slots of a histogram."""
INTERNAL = frozenset({"cgroup_id", "jobs", "start_time", "subject_flags"})
"""Members of `struct subject` that are the agent's own and stand in no row."""
SUBJECT = "who"
KIND = "kind"
"""The enumeration beside a union that says which of its arms is in use."""
MAX_COLUMNS = 256


@dataclass(frozen=True, slots=True)
class Column:
    """One member of a struct, nested ones included.

    meaning: its typedef's name, or else the C type's; offset and size in bytes; count: elements
    of a list; values: an enum's names without the prefix that all share. kinds: where the column
    is of a union, the values of `kind` whose rows have it; empty: all rows have it.
    """

    name: str
    meaning: str
    kind: Kind
    offset: int
    size: int
    count: int = 1
    values: Mapping[int, str] = field(default_factory=dict[int, str], hash=False)
    element: Kind = "uint"
    kinds: frozenset[int] = frozenset()

    @property
    def json_type(self) -> JsonType:
        """The type of its values in JSON; those of a union may be null as well."""
        if self.meaning in ("args_t", "stack_t") or self.kind == "list":
            return "array"
        if self.meaning in SHOWN_AS_TEXT or self.kind in ("enum", "flags", "chars", "bytes"):
            return "string"
        if self.kind == "bool":
            return "boolean"
        return "number" if self.kind == "float" or self.meaning == "percent_t" else "integer"

    @property
    def internal(self) -> bool:
        """Whether it is the agent's own and stands in no row."""
        return self.name in INTERNAL

    @property
    def format(self) -> Any:
        """Return the numpy format of the column."""
        order = "<" if sys.byteorder == "little" else ">"
        if self.kind == "chars":
            return f"S{self.size}"
        if self.kind == "bytes":
            return f"V{self.size}"
        if self.kind == "list":
            return (f"{order}{_LETTERS[self.element]}{self.size // self.count}", (self.count,))
        return f"{order}{_LETTERS[self.kind]}{self.size}"


_LETTERS: Mapping[str, str] = {
    "int": "i",
    "enum": "i",
    "float": "f",
    "uint": "u",
    "bool": "u",
    "flags": "u",
}


SUBJECT_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "pid": Column("pid", "tgid_t", "uint", 0, 4),
        "tid": Column("tid", "tid_t", "uint", 0, 4),
        "uid": Column("uid", "uid_t", "uint", 0, 4),
        "comm": Column("comm", "comm_t", "chars", 0, 16),
    }
)
"""Who did it, as conditions name it even where rows add up what several did. No offsets."""


class Layout:
    """The fixed part of a record: name of its struct, size in bytes, columns in order.

    source: which of a tracker's results the records are.
    """

    source: Source = "events"

    def __init__(self, name: str, size: int, columns: Sequence[Column]) -> None:
        self.name = name
        self.size = size
        self.columns = tuple(columns)
        self._by_name = {column.name: column for column in columns}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def column(self, name: str) -> Column:
        """Return a column. Raises KeyError naming what there is."""
        if name not in self._by_name:
            raise KeyError(f"no column {name!r}; there are {', '.join(self._by_name)}")
        return self._by_name[name]

    @cached_property
    def dtype(self) -> "np.dtype[Any]":
        """The numpy dtype of the fixed part: fields as in the struct, padding left out."""
        import numpy as np  # noqa: PLC0415

        return np.dtype(
            {
                "names": [column.name for column in self.columns],
                "formats": [column.format for column in self.columns],
                "offsets": [column.offset for column in self.columns],
                "itemsize": self.size,
            }
        )


def event_layout(btf: Btf, ring: str = "events") -> Layout:
    """Return the layout of a ring buffer's records: `__type(value, struct …)` stands on the map."""
    return map_layout(btf, ring, "value")


def map_layout(btf: Btf, name: str, role: Literal["key", "value"]) -> Layout:
    """Return the layout of a map's keys or values. Raises ObjectInvalid naming what there is."""
    maps = btf.maps()
    if name not in maps:
        raise ObjectInvalid(f"has no map {name}; there are {', '.join(maps) or 'none'}")
    if role not in maps[name]:
        raise ObjectInvalid(f"map {name} does not tell the type of its {role}: use __type()")
    return layout_of(btf, maps[name][role])


def layout_of(btf: Btf, type_id: int) -> Layout:
    """Return the layout of a struct. Raises ObjectInvalid for what cannot be a column."""
    found = btf.resolve(type_id)[1]
    if not isinstance(found, Struct) or found.is_union:
        raise ObjectInvalid(f"{getattr(found, 'name', '') or 'a record'} is not a struct")
    columns: dict[str, Column] = {}
    for column in _columns(btf, found, prefix="", base=0, depth=0):
        other = columns.setdefault(column.name, column)
        if other is not column:
            columns[column.name] = _same_of_two_arms(found, other, column)
        if len(columns) > MAX_COLUMNS:
            raise ObjectInvalid(f"struct {found.name} has more than {MAX_COLUMNS} members")
    if any(column.offset + column.size > found.size for column in columns.values()):
        raise ObjectInvalid(f"struct {found.name} is smaller than its members")
    return Layout(found.name, found.size, list(columns.values()))


def _same_of_two_arms(struct: Struct, one: Column, other: Column) -> Column:
    if not (one.kinds and other.kinds):
        raise ObjectInvalid(f"struct {struct.name} has two members {one.name}")
    if replace(one, kinds=other.kinds) != other:
        raise ObjectInvalid(
            f"struct {struct.name}: {one.name} is not the same in all arms of the union that have "
            "it: give it one type and one place, or two names"
        )
    return replace(one, kinds=one.kinds | other.kinds)


def _columns(btf: Btf, struct: Struct, prefix: str, base: int, depth: int) -> Iterator[Column]:
    if depth > 8:
        raise ObjectInvalid(f"struct {struct.name} is nested too deeply")
    for member in struct.members:
        name = f"{prefix}{member.name}"
        if member.bits or member.bit_offset % 8:
            raise ObjectInvalid(f"struct {struct.name}: {name} is a bit field; use a whole integer")
        offset = base + member.bit_offset // 8
        inner = btf.resolve(member.type_id)[1]
        if isinstance(inner, Struct) and inner.is_union:
            if depth:
                raise ObjectInvalid(f"struct {struct.name}: union {name} does not stand outermost")
            yield from _arms(btf, struct, inner, offset)
        elif isinstance(inner, Struct):
            flat = not member.name or (depth == 0 and member.name == SUBJECT)
            yield from _columns(btf, inner, "" if flat else f"{name}_", offset, depth + 1)
        elif member.name != "pad":
            yield _column(btf, struct, name, member.type_id, offset)


def _arms(btf: Btf, struct: Struct, union: Struct, base: int) -> Iterator[Column]:
    """Return what stands in a union: of each arm that which is read in rows of its kind."""
    kinds = {name: value for value, name in _kinds(btf, struct).items()}
    for arm in union.members:
        if arm.name not in kinds:
            raise ObjectInvalid(
                f"struct {struct.name}: {arm.name or 'an arm without a name'} in a union is no "
                f"value of enum member `{KIND}` beside it; there are {', '.join(kinds) or 'none'}"
            )
        inner = btf.resolve(arm.type_id)[1]
        columns = (
            _columns(btf, inner, "", base, depth=1)
            if isinstance(inner, Struct)
            else [_column(btf, struct, arm.name, arm.type_id, base)]
        )
        for column in columns:
            yield replace(column, kinds=frozenset({kinds[arm.name]}))


def _kinds(btf: Btf, struct: Struct) -> Mapping[int, str]:
    found = (btf.resolve(member.type_id)[1] for member in struct.members if member.name == KIND)
    return next((_short_names(each) for each in found if isinstance(each, Enum)), {})


def _column(btf: Btf, struct: Struct, name: str, type_id: int, offset: int) -> Column:
    meaning, found = btf.resolve(type_id)
    size = btf.size(type_id)
    match found:
        case Int():
            kind: Kind = "bool" if found.is_bool else "int" if found.signed else "uint"
            return Column(name, meaning or found.name, kind, offset, size)
        case Enum():
            values = _short_names(found)
            named: Kind = "enum"
            if found.name.endswith("_flags"):
                values = {value % (1 << 8 * size): flag for value, flag in values.items()}
                named = "flags"
            whole = meaning or f"enum {found.name}"
            return Column(name, whole, named, offset, size, values=MappingProxyType(values))
        case Float():
            return Column(name, meaning or found.name, "float", offset, size)
        case Pointer():
            return Column(name, meaning or "pointer", "uint", offset, size)
        case Array():
            return _array(btf, struct, Column(name, meaning, "list", offset, size), found)
        case _:
            raise ObjectInvalid(f"struct {struct.name}: {name} is neither number, text nor list")


def _array(btf: Btf, struct: Struct, column: Column, array: Array) -> Column:
    meaning, element = btf.resolve(array.element_id)
    if isinstance(element, Struct):
        raise ObjectInvalid(
            f"struct {struct.name}: {column.name} is a list of structs; make each a member of its "
            "own, or an event"
        )
    whole = column.meaning or f"{meaning or element.name}[{array.count}]"
    if meaning == "log2_t":
        whole = SLOTS
    place = (column.name, whole)
    if isinstance(element, Int) and element.name == "char":
        return Column(*place, "chars", column.offset, column.size)
    if isinstance(element, Int) and element.size == 1:
        return Column(*place, "bytes", column.offset, column.size)
    if isinstance(element, Int | Float) and array.count:
        kind: Kind = "float" if isinstance(element, Float) else "int" if element.signed else "uint"
        return Column(*place, "list", column.offset, column.size, array.count, element=kind)
    raise ObjectInvalid(f"struct {struct.name}: {column.name} is a list of what is not a number")


def _short_names(enum: Enum) -> dict[int, str]:
    """Take the enum's own name off its values' names, as in `enum kind {kind_exec, kind_exit}`."""
    prefix = f"{enum.name}_"
    if enum.name and all(name.startswith(prefix) for name in enum.values.values()):
        return {value: name.removeprefix(prefix) for value, name in enum.values.items()}
    return dict(enum.values)
