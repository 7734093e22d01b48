# SPDX-License-Identifier: Apache-2.0
"""What the names of a `where` stand for in some rows of a batch."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.events import render
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import REFERENCES, Column
from eunomia_agent.events.where.number import NOWHERE
from eunomia_agent.events.where.text import Text
from eunomia_agent.events.where.vector import (
    Mask,
    Numbers,
    Raw,
    Terms,
    Vector,
    constant,
    distinct_numbers,
)
from eunomia_api.where import syntax, types
from eunomia_api.where.types import Type

Index = NDArray[np.intp]
DTYPES: Mapping[Type, Any] = {
    types.BOOL: np.bool_,
    types.INT: np.int64,
    types.NANOSECONDS: np.int64,
    types.DURATION: np.int64,
    types.UINT: np.uint64,
    types.DOUBLE: np.float64,
}
"""Of the types that are numbers to numpy."""
USUAL = 16
"""Of so many numbers at most it is kept what rows show for them."""


Constants = Mapping[str, str | Mapping[str, str] | None]
"""What is the same in all rows, by name: texts, and labels; None: those are not known."""


class Scope:
    """All rows of a batch. constants: what is the same in all of them."""

    def __init__(self, batch: Batch, constants: Constants) -> None:
        self._batch = batch
        self._constants = constants
        self._known: dict[str, Vector] = {}
        self._referred: dict[tuple[Column, bytes], Vector] = {}

    def __len__(self) -> int:
        return len(self._batch)

    def value(self, name: syntax.Name) -> Vector:
        """Return what a name stands for in each row. Columns are looked up once."""
        if name.kind == "owner":
            return known_of(self._constants[name.name])
        if name.name not in self._known:
            self._known[name.name] = self._column(name)
        return self._known[name.name]

    def _column(self, name: syntax.Name) -> Vector:
        """Return a column: the same object for columns that refer to the same bytes in each row."""
        layout = self._batch.layout
        column = layout.column(name.name) if name.name in layout else None
        if column is None or column.kinds or column.meaning not in REFERENCES:
            return column_of(self._batch, name.name, name.type)
        known = replace(column, name="", offset=0), self._batch.fixed[name.name].tobytes()
        if known not in self._referred:
            self._referred[known] = column_of(self._batch, name.name, name.type)
        return self._referred[known]


class Part:
    """Some rows of a scope, maybe repeatedly. variables: those of a quantifier, for each row."""

    def __init__(
        self,
        whole: "Scope | Part",
        rows: Index,
        variables: Mapping[str, Vector] | None = None,
    ) -> None:
        self._whole = whole
        self._rows = rows
        self._known = dict(variables or {})

    def __len__(self) -> int:
        return len(self._rows)

    def value(self, name: syntax.Name) -> Vector:
        """Return what a name stands for in each row."""
        if name.name not in self._known:
            self._known[name.name] = self._whole.value(name).take(self._rows)
        return self._known[name.name]


def known_of(value: str | Mapping[str, str] | None) -> Vector:
    """Return what is the same in all rows. About labels that are not known there is no answer."""
    if value is None:
        return replace(constant({}), error=np.ones((), np.bool_))
    return constant(value)


def column_of(batch: Batch, name: str, type_: Type) -> Vector:
    """Return a column. Rows that lack it are errors, as in CEL."""
    if name not in batch.layout:
        missing = np.ones((), np.bool_)
        if type_ in DTYPES:
            return Numbers(np.zeros((), DTYPES[type_]), missing)
        return replace(constant([] if type_.element else ""), error=missing)
    column = batch.layout.column(name)
    present = batch.present(name)
    error = NOWHERE if present is None else ~present
    if column.meaning in REFERENCES:
        starts, stops = batch.spans(name)
        return _raw(column, Text(batch.tail, starts, stops - starts), error)
    return _vector(column, batch.fixed[name], type_, error)


def _vector(column: Column, values: NDArray[Any], type_: Type, error: Mask) -> Vector:
    if column.kind == "chars":
        return _raw(column, Text.of_chars(values), error)
    if column.kind in ("bytes", "list"):
        return _shown(column, values, error)
    if type_ == types.BOOL:
        return Numbers(values != 0, error)
    if type_ in (types.INT, types.NANOSECONDS):
        wide = values.dtype.kind == "u" and values.dtype.itemsize == 8
        return Numbers(values.astype(np.uint64 if wide else np.int64), error)
    return _named(column, values, type_, error)


def _named(column: Column, values: NDArray[Any], type_: Type, error: Mask) -> Vector:
    """Return numbers as rows show them: by name, or with a fraction."""
    if column.kind == "float":
        return Numbers(values.astype(np.float64), error)
    codes, known = distinct_numbers(values)
    if len(known) <= USUAL:
        shown = _shown_before(column, known.dtype, tuple(known.tolist()))
    else:
        shown = _loaded(render.json(column, known))
    if type_ == types.DOUBLE:
        return Numbers(np.asarray(shown, np.float64)[codes], error)
    return Terms(codes, shown, error)


@lru_cache(maxsize=512)
def _shown_before(column: Column, dtype: "np.dtype[Any]", known: tuple[int, ...]) -> list[Any]:
    """Return what rows show for some numbers: often they are the same few as in the last batch."""
    return _loaded(render.json(column, np.array(known, dtype)))


def _raw(column: Column, text: Text, error: Mask) -> Raw:
    if column.meaning == "args_t":
        return Raw(text, lambda known: _loaded(render.json(column, known)), error, plain=False)
    return Raw(text, lambda known: [render.decoded(each) for each in known], error, plain=True)


def _shown(column: Column, values: NDArray[Any], error: Mask) -> Raw:
    """Return lists, or bytes that rows show in another form, such as addresses."""
    size = values.dtype.itemsize * (values.size // max(1, len(values)))
    data = np.ascontiguousarray(values).tobytes()
    starts = np.arange(len(values), dtype=np.int64) * size
    text = Text(data, starts, np.full(len(values), size, np.int64))
    decode = partial(_rebuilt, column, values.dtype, values.shape[1:])
    return Raw(text, decode, error, plain=False)


def _rebuilt(
    column: Column, dtype: "np.dtype[Any]", shape: tuple[int, ...], known: list[bytes]
) -> list[Any]:
    return _loaded(render.json(column, np.frombuffer(b"".join(known), dtype).reshape(-1, *shape)))


def _loaded(fragments: list[str]) -> list[Any]:
    """Return what stands in the rows; a number that JSON has no word for is not a number."""
    found: list[Any] = json.loads(f"[{','.join(fragments)}]")
    return [
        [float("nan") if x is None else x for x in each] if isinstance(each, list) else each
        for each in found
    ]
