# SPDX-License-Identifier: Apache-2.0
"""The holes of a row's template: how each column is rendered by template.c, or that Python does."""

import ctypes
import json
from collections.abc import Collection, Mapping
from ctypes import POINTER, c_char_p, c_int64, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from eunomia_agent.events import names, render
from eunomia_agent.events.layout import KIND, SLOTS, Column, Layout

MAX_SPAN = 4096
"""From the least to the largest value of an enumeration that template.c has names for."""


class Fill(IntEnum):
    """How a hole is filled: `enum fill` of template.c."""

    UINT = 0
    INT = 1
    BOOL = 2
    TIME = 3
    CHARS = 4
    STRING = 5
    ARGS = 6
    BYTES = 7
    UINTS = 8
    INTS = 9
    SLOTS = 10
    NAME = 11
    FLAGS = 12
    OCTAL = 13
    HEX = 14
    DEVICE = 15
    PERCENT = 16
    IPV4 = 17
    IPV6 = 18
    IP = 19
    CONSTANT = 20
    READY = 21


class Text(ctypes.Structure):
    """Where a piece of the constant text stands: `struct text`."""

    _fields_ = (("at", c_uint32), ("size", c_uint32))


class Flag(ctypes.Structure):
    """Bits and their name: `struct flag`."""

    _fields_ = (("bits", c_uint64), ("name", Text))


class Hole(ctypes.Structure):
    """A column's place in a row: `struct hole`."""

    _fields_ = (
        *(("fill", c_uint64), ("offset", c_uint64), ("size", c_uint64), ("count", c_uint64)),
        ("before", Text),
        *(("mask", c_uint64), ("shift", c_uint64), ("least", c_int64)),
        *(("name_count", c_uint64), ("flag_count", c_uint64)),
        *(("names", POINTER(Text)), ("flags", POINTER(Flag))),
        *(("ready", c_char_p), ("ready_ends", c_void_p)),
        *(("kind_offset", c_uint64), ("kind_size", c_uint64)),
        *(("kind_least", c_int64), ("kind_count", c_uint64), ("kinds", c_char_p)),
    )


class Holes:
    """The holes of a layout's rows, with the constant text between them.

    text: all constant text; ready: names of the columns that Python renders, by the hole's number.
    """

    def __init__(self, layout: Layout) -> None:
        self.text = bytearray()
        self.ready: dict[int, str] = {}
        self._layout = layout
        self._holes: list[Hole] = []
        self._kept: list[Any] = []

    def array(self) -> "ctypes.Array[Hole]":
        """Return the holes as template.c takes them. What they point to is kept in here."""
        return (Hole * len(self._holes))(*self._holes)

    def put_constant(self) -> None:
        """Add what is given for all rows at once."""
        self._holes.append(Hole(fill=Fill.CONSTANT, before=self.put_text(b",")))

    def put_time(self) -> None:
        """Begin a row with its time."""
        hole = self._hole(self._layout.column("time"))
        hole.before = self.put_text(b'{"time":')
        self._holes.append(hole)

    def put(self, name: str) -> None:
        """Add a column, with its name."""
        hole = self._hole(self._layout.column(name))
        hole.before = self.put_text(f",{json.dumps(name)}:".encode())
        if hole.fill == Fill.READY:
            self.ready[len(self._holes)] = name
        self._holes.append(hole)

    def put_text(self, text: bytes) -> Text:
        """Add constant text."""
        self.text += text
        return Text(len(self.text) - len(text), len(text))

    def _hole(self, column: Column) -> Hole:
        hole = Hole(offset=column.offset, size=column.size, count=column.count)
        self._fill(hole, column)
        if column.kinds and hole.fill != Fill.READY:
            self._limit(hole, column.kinds)
        return hole

    def _limit(self, hole: Hole, values: Collection[int]) -> None:
        """Fill the hole in rows of some kinds alone."""
        span = range(min(values), max(values) + 1)
        if len(span) > MAX_SPAN:
            hole.fill = Fill.READY
            return
        kind = self._layout.column(KIND)
        kinds = bytes(value in values for value in span)
        hole.kind_offset, hole.kind_size = kind.offset, kind.size
        hole.kinds, hole.kind_least, hole.kind_count = kinds, span.start, len(kinds)
        self._kept.append(kinds)

    def _fill(self, hole: Hole, column: Column) -> None:
        """Say how the column is rendered; READY: by Python."""
        named = column.meaning in _TABLES and column.kind == "uint" and column.size == 8
        if named or column.size // column.count not in _SIZES.get(column.kind, (column.size,)):
            hole.fill = Fill.READY
        elif render.has_meaning(column):
            self._fill_by_meaning(hole, column)
        else:
            self._fill_by_kind(hole, column)

    def _fill_by_meaning(self, hole: Hole, column: Column) -> None:
        hole.fill = _BY_MEANING.get(column.meaning, Fill.READY)
        if column.meaning in _TABLES:
            mask = (1 << 8 * column.size) - 1 if column.kind == "uint" else (1 << 64) - 1
            self._name(hole, _TABLES[column.meaning], mask)
        elif column.meaning == "file_type_t":
            self._name(hole, names.FILE_TYPES, names.FILE_TYPE_MASK)
            hole.shift = names.FILE_TYPE_SHIFT
        elif column.meaning == "open_flags_t":
            self._name(hole, names.OPEN_ACCESS, 3, quote=False)
            self._flags(hole, names.OPEN_FLAGS)

    def _fill_by_kind(self, hole: Hole, column: Column) -> None:
        match column.kind:
            case "enum":
                self._name(hole, column.values, (1 << 64) - 1)
            case "flags":
                self._flags(hole, render.flags_of(column))
            case "list":
                hole.fill = {"uint": Fill.UINTS, "int": Fill.INTS}.get(column.element, Fill.READY)
            case _:
                hole.fill = _BY_KIND.get(column.kind, Fill.READY)

    def _name(self, hole: Hole, known: Mapping[int, str], mask: int, *, quote: bool = True) -> None:
        least, largest = min(known, default=0), max(known, default=-1)
        if largest - least >= MAX_SPAN:
            hole.fill = Fill.READY
            return
        texts = (Text * (largest - least + 1))()
        for value, name in known.items():
            shown = quoted(name)
            texts[value - least] = self.put_text((shown if quote else shown[1:-1]).encode())
        hole.fill, hole.mask, hole.least = Fill.NAME, mask, least
        hole.names, hole.name_count = texts, len(texts)
        self._kept.append(texts)

    def _flags(self, hole: Hole, known: Mapping[int, str]) -> None:
        flags = (Flag * len(known))()
        for flag, (bits, name) in zip(flags, known.items(), strict=True):
            flag.bits, flag.name = bits, self.put_text(quoted(name)[1:-1].encode())
        hole.fill, hole.flags, hole.flag_count = Fill.FLAGS, flags, len(flags)
        self._kept.append(flags)


_INTEGER = (1, 2, 4, 8)
_INTEGERS = ("int", "uint", "bool", "enum", "flags", "list")
_SIZES: Mapping[str, tuple[int, ...]] = dict.fromkeys(_INTEGERS, _INTEGER)
_TABLES: Mapping[str, Mapping[int, str]] = {
    "errno_t": names.ERRORS,
    "signal_t": names.SIGNALS,
    "syscall_t": names.SYSCALLS,
    "capability_t": names.CAPABILITIES,
}
_BY_KIND: Mapping[str, Fill] = {
    "int": Fill.INT,
    "uint": Fill.UINT,
    "bool": Fill.BOOL,
    "chars": Fill.CHARS,
    "list": Fill.UINTS,
    "bytes": Fill.BYTES,
}
_BY_MEANING: Mapping[str, Fill] = {
    "string_t": Fill.STRING,
    "path_t": Fill.STRING,
    "args_t": Fill.ARGS,
    "boot_ns_t": Fill.TIME,
    "duration_t": Fill.UINT,
    "file_mode_t": Fill.OCTAL,
    "device_t": Fill.DEVICE,
    "ipc_key_t": Fill.HEX,
    "percent_t": Fill.PERCENT,
    "ipv4_t": Fill.IPV4,
    "ipv6_t": Fill.IPV6,
    "ip_t": Fill.IP,
    SLOTS: Fill.SLOTS,
}
