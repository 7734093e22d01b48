# SPDX-License-Identifier: Apache-2.0
"""Rows of a batch as JSON lines, made by template.c from the columns.

What it makes is what render.py makes of each column, byte for byte, but for times since the boot:
they become dates, RFC 3339 in UTC with nanoseconds.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int64, c_uint64, c_void_p
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.errors import AgentError
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.buffers import Buffers
from eunomia_agent.events.hole import Hole, Holes, Text
from eunomia_agent.events.layout import Layout
from eunomia_agent.events.lines import Lines

LIBRARY = Path(__file__).with_name("libtemplate.so")
SPARE = 1 << 16
"""Bytes above what the rows before these took, for rows that are longer."""


class _Template(ctypes.Structure):
    _fields_ = (
        *(("text", c_char_p), ("text_size", c_uint64)),
        *(("holes", POINTER(Hole)), ("hole_count", c_uint64)),
        ("after", Text),
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
        self._row_bytes = 512
        self._holes = Holes(layout)
        self._holes.put_time()
        self._holes.put_constant()
        for name in columns:
            self._holes.put(name)
        after = self._holes.put_text(b"}\n")
        self._array = self._holes.array()
        text = bytes(self._holes.text)
        self._template = _Template(
            text=text,
            text_size=len(text),
            holes=self._array,
            hole_count=len(self._array),
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
        if not self._holes.ready:
            return self._template, []
        holes = type(self._array).from_buffer_copy(self._array)
        kept: list[Any] = [holes]
        for number, name in self._holes.ready.items():
            fragments = batch.json(name)
            data = "".join(fragments).encode("ascii")
            ends = np.fromiter(accumulate(map(len, fragments)), np.int64, len(fragments))
            holes[number].ready, holes[number].ready_ends = data, ends.ctypes.data
            kept += [data, ends]
        template = _Template.from_buffer_copy(self._template)
        template.holes = holes
        return template, kept


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


BUFFERS = Buffers()
"""Where lines are rendered: lent to one rendering after another."""
