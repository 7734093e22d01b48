# SPDX-License-Identifier: Apache-2.0
"""Rows of a batch as JSON lines, made by template.c from the columns.

What it makes is what render.py makes of each column, byte for byte, but for times since the boot:
they become dates, RFC 3339 in UTC with nanoseconds.
"""

import ctypes
import json
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_char_p, c_int64, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from functools import cache, lru_cache
from itertools import accumulate
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.errors import AgentError
from eunomia_agent.events import names, render
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.buffers import Buffers
from eunomia_agent.events.layout import KIND, SLOTS, Column, Layout
from eunomia_agent.events.lines import Lines

LIBRARY = Path(__file__).with_name("libtemplate.so")
MAX_SPAN = 4096
"""From the least to the largest value of an enumeration that template.c has names for."""
SPARE = 1 << 16
"""Bytes above what the rows before these took, for rows that are longer."""


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


class _Text(ctypes.Structure):
    _fields_ = (("at", c_uint32), ("size", c_uint32))


class _Flag(ctypes.Structure):
    _fields_ = (("bits", c_uint64), ("name", _Text))


class _Hole(ctypes.Structure):
    _fields_ = (
        *(("fill", c_uint64), ("offset", c_uint64), ("size", c_uint64), ("count", c_uint64)),
        ("before", _Text),
        *(("mask", c_uint64), ("shift", c_uint64), ("least", c_int64)),
        *(("name_count", c_uint64), ("flag_count", c_uint64)),
        *(("names", POINTER(_Text)), ("flags", POINTER(_Flag))),
        *(("ready", c_char_p), ("ready_ends", c_void_p)),
        *(("kind_offset", c_uint64), ("kind_size", c_uint64)),
        *(("kind_least", c_int64), ("kind_count", c_uint64), ("kinds", c_char_p)),
    )


class _Template(ctypes.Structure):
    _fields_ = (
        *(("text", c_char_p), ("text_size", c_uint64)),
        *(("holes", POINTER(_Hole)), ("hole_count", c_uint64)),
        ("after", _Text),
        ("fixed_size", c_uint64),
    )


class _Rendering(ctypes.Structure):
    _fields_ = (
        *(("fixed", c_void_p), ("stride", c_int64)),
        *(("tail", c_void_p), ("tail_size", c_uint64)),
        *(("tail_start", c_void_p), ("tail_end", c_void_p)),
        *(("rows", c_uint64), ("done", c_uint64)),
        ("offset_ns", c_int64),
        *(("constant", c_char_p), ("constant_size", c_uint64)),
        *(("out", c_void_p), ("capacity", c_uint64), ("used", c_uint64)),
        ("ends", c_void_p),
    )


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.render_rows.argtypes = [POINTER(_Template), POINTER(_Rendering)]
        library.take_lines.argtypes = [c_void_p] * 3 + [c_uint64] + [c_void_p] * 2
        library.take_lines.restype = None
    except (OSError, AttributeError) as error:
        raise AgentError(f"{LIBRARY.name} cannot be loaded ({error}); build it anew") from error
    return library


@lru_cache(maxsize=64)
def template_of(layout: Layout, columns: tuple[str, ...]) -> "Template":
    """Return the template of a layout's rows. It is made once."""
    return Template(layout, columns)


class Template:
    """A row as constant text and holes, each of which a column fills."""

    def __init__(self, layout: Layout, columns: Sequence[str]) -> None:
        """Prepare rows of {"time":…, what is constant, columns in this order}."""
        self.layout = layout
        self._text = bytearray()
        self._kept: list[Any] = []
        self._ready: dict[int, str] = {}
        self._row_bytes = 512
        holes = [self._time(), _Hole(fill=Fill.CONSTANT, before=self._add(b","))]
        for name in columns:
            hole = self._hole(layout.column(name))
            hole.before = self._add(f",{json.dumps(name)}:".encode())
            if hole.fill == Fill.READY:
                self._ready[len(holes)] = name
            holes.append(hole)
        after = self._add(b"}\n")
        self._holes = (_Hole * len(holes))(*holes)
        self._bytes = bytes(self._text)
        self._template = _Template(
            text=self._bytes,
            text_size=len(self._bytes),
            holes=self._holes,
            hole_count=len(holes),
            after=after,
            fixed_size=layout.size,
        )

    def render(self, batch: Batch, constant: bytes, offset_ns: int) -> Lines:
        """Return a line a row.

        constant: members of the object that all rows share, without braces, ASCII; offset_ns:
        CLOCK_REALTIME - CLOCK_BOOTTIME.
        """
        if batch.layout is not self.layout:
            raise ValueError(f"a batch of {batch.layout.name}, a template of {self.layout.name}")
        template, kept = self._filled(batch)
        count = len(batch)
        ends = np.empty(count, np.int64)
        tail = batch.tail_bytes
        starts, stops = map(np.ascontiguousarray, (batch.tail_start, batch.tail_end))
        buffer = BUFFERS.take(count * self._row_bytes + SPARE)
        job = _Rendering(
            fixed=batch.fixed.ctypes.data,
            stride=batch.fixed.strides[0],
            tail=tail.ctypes.data,
            tail_size=len(tail),
            tail_start=starts.ctypes.data,
            tail_end=stops.ctypes.data,
            rows=count,
            offset_ns=offset_ns,
            constant=constant,
            constant_size=len(constant),
            ends=ends.ctypes.data,
        )
        while True:
            job.out, job.capacity = buffer.ctypes.data, len(buffer)
            if _library().render_rows(template, job):
                raise ValueError(f"the template of {self.layout.name} reaches out of its records")
            if job.done == count:
                break
            buffer = BUFFERS.larger(buffer, int(job.used))
        del kept
        if count:
            self._row_bytes = int(job.used) // count + 1
        return Lines(BUFFERS.lend(buffer, int(job.used)), ends)

    def _filled(self, batch: Batch) -> tuple[_Template, list[Any]]:
        """Return the template with the columns in it that are rendered by Python."""
        if not self._ready:
            return self._template, []
        holes = type(self._holes).from_buffer_copy(self._holes)
        kept: list[Any] = [holes]
        for number, name in self._ready.items():
            fragments = batch.json(name)
            data = "".join(fragments).encode("ascii")
            ends = np.fromiter(accumulate(map(len, fragments)), np.int64, len(fragments))
            holes[number].ready, holes[number].ready_ends = data, ends.ctypes.data
            kept += [data, ends]
        template = _Template.from_buffer_copy(self._template)
        template.holes = holes
        return template, kept

    def _add(self, text: bytes) -> _Text:
        self._text += text
        return _Text(len(self._text) - len(text), len(text))

    def _time(self) -> _Hole:
        time = self.layout.column("time")
        before = self._add(b'{"time":')
        return _Hole(fill=Fill.TIME, offset=time.offset, size=time.size, before=before)

    def _hole(self, column: Column) -> _Hole:
        hole = _Hole(offset=column.offset, size=column.size, count=column.count)
        self._fill(hole, column)
        if column.kinds and hole.fill != Fill.READY:
            kind = self.layout.column(KIND)
            hole.kind_offset, hole.kind_size = kind.offset, kind.size
            hole.kind_least = least = min(column.kinds)
            span = range(least, max(column.kinds) + 1)
            if len(span) > MAX_SPAN:
                hole.fill = Fill.READY
            else:
                hole.kinds = bytes(value in column.kinds for value in span)
                hole.kind_count = len(span)
                self._kept.append(hole.kinds)
        return hole

    def _fill(self, hole: _Hole, column: Column) -> None:
        """Say how the column is rendered; READY: by Python."""
        named = column.meaning in _TABLES and column.kind == "uint" and column.size == 8
        if named or column.size // column.count not in _SIZES.get(column.kind, (column.size,)):
            hole.fill = Fill.READY
        elif render.has_meaning(column):
            self._fill_by_meaning(hole, column)
        else:
            self._fill_by_kind(hole, column)

    def _fill_by_meaning(self, hole: _Hole, column: Column) -> None:
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

    def _fill_by_kind(self, hole: _Hole, column: Column) -> None:
        match column.kind:
            case "enum":
                self._name(hole, column.values, (1 << 64) - 1)
            case "flags":
                self._flags(hole, render.flags_of(column))
            case "list":
                hole.fill = {"uint": Fill.UINTS, "int": Fill.INTS}.get(column.element, Fill.READY)
            case _:
                hole.fill = _BY_KIND.get(column.kind, Fill.READY)

    def _name(
        self, hole: _Hole, known: Mapping[int, str], mask: int, *, quote: bool = True
    ) -> None:
        least, largest = min(known, default=0), max(known, default=-1)
        if largest - least >= MAX_SPAN:
            hole.fill = Fill.READY
            return
        texts = (_Text * (largest - least + 1))()
        for value, name in known.items():
            shown = quoted(name)
            texts[value - least] = self._add((shown if quote else shown[1:-1]).encode())
        hole.fill, hole.mask, hole.least = Fill.NAME, mask, least
        hole.names, hole.name_count = texts, len(texts)
        self._kept.append(texts)

    def _flags(self, hole: _Hole, known: Mapping[int, str]) -> None:
        flags = (_Flag * len(known))()
        for flag, (bits, name) in zip(flags, known.items(), strict=True):
            flag.bits, flag.name = bits, self._add(quoted(name)[1:-1].encode())
        hole.fill, hole.flags, hole.flag_count = Fill.FLAGS, flags, len(flags)
        self._kept.append(flags)


def take(lines: Lines, index: NDArray[np.intp]) -> Lines:
    """Return some lines, by index."""
    chosen = np.ascontiguousarray(index, np.int64)
    starts = np.where(chosen > 0, lines.ends[chosen - 1], 0)
    size = int((lines.ends[chosen] - starts).sum())
    buffer = BUFFERS.take(size)
    ends = np.empty(len(chosen), np.int64)
    data = np.frombuffer(lines.data, np.uint8)
    _library().take_lines(
        *(data.ctypes.data, lines.ends.ctypes.data, chosen.ctypes.data, len(chosen)),
        *(buffer.ctypes.data, ends.ctypes.data),
    )
    return Lines(BUFFERS.lend(buffer, size), ends)


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
BUFFERS = Buffers()
"""Where lines are rendered: lent to one rendering after another."""
