# SPDX-License-Identifier: Apache-2.0
"""What a part of a `where` is for each row: numbers as they are, all else by its distinct values.

Arrays have shape (n,), or () where a value is the same in all rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import starmap
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.events.where.number import NOWHERE
from eunomia_agent.events.where.text import Text

Array = NDArray[Any]
Mask = NDArray[np.bool_]
T = TypeVar("T")
_NARROW = 1 << 16
FEW = 1024
"""So many values are sooner told apart one by one than with numpy, and then asked about."""


def _nowhere() -> Mask:
    return NOWHERE


class RowError(Exception):
    """A function has no answer for these values: the row is in error, as in CEL."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """int64, uint64, float64 or bool; error: rows that have none."""

    values: Array
    error: Mask = field(default_factory=_nowhere)

    def take(self, rows: Array) -> "Numbers":
        """Return some rows, by index or mask."""
        return Numbers(_taken(self.values, rows), _taken(self.error, rows))


@dataclass(frozen=True, slots=True)
class Terms:
    """Strings or lists: `known[codes]`; error: rows that have none."""

    codes: NDArray[np.intp]
    known: Sequence[Any]
    error: Mask = field(default_factory=_nowhere)

    def take(self, rows: Array) -> "Terms":
        """Return some rows, by index or mask."""
        return Terms(_taken(self.codes, rows), self.known, _taken(self.error, rows))


class Raw:
    """Bytes as they came, of texts or of what is shown as something else.

    decode: what stands in the rows for each of some bytes; plain: whether that is the text itself;
    error: rows that have none.
    """

    def __init__(
        self,
        text: Text,
        decode: Callable[[list[bytes]], list[Any]],
        error: Mask = NOWHERE,
        *,
        plain: bool,
    ) -> None:
        self.text = text
        self.error = error
        self.plain = plain
        self.few = len(text) <= FEW
        self._decode = decode
        self._whole: tuple[Raw, Array] | None = None

    def take(self, rows: Array) -> "Raw":
        """Return some rows, by index or mask."""
        error = _taken(self.error, rows)
        part = Raw(self.text.take(rows), self._decode, error, plain=self.plain)
        if self.few:
            part._whole = self, rows
        return part

    @cached_property
    def distinct(self) -> tuple[NDArray[np.intp], list[bytes]]:
        """Which of some bytes each row has; of few rows, those of the rows around them as well."""
        if self._whole is not None:
            whole, rows = self._whole
            codes, known = whole.distinct
            return codes[rows], known
        return distinct(self.text.values())

    @cached_property
    def terms(self) -> Terms:
        """The same by distinct values."""
        if self._whole is not None:
            whole, rows = self._whole
            return whole.terms.take(rows)
        codes, known = self.distinct
        return Terms(codes, self._decode(known), self.error)


Vector = Numbers | Terms | Raw


def _taken(values: Array, rows: Array) -> Array:
    return values[rows] if values.ndim else values


def constant(value: object, dtype: Any = None) -> Numbers | Terms:
    """Return a value that is the same in all rows. dtype: of a number."""
    if dtype is not None:
        return Numbers(np.asarray(value, dtype))
    return Terms(np.zeros((), np.intp), [value])


def distinct(values: Sequence[T]) -> tuple[NDArray[np.intp], list[T]]:
    """Return distinct values, and for each value which of them it is."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    codes = np.fromiter(map(numbers.__getitem__, values), np.intp, len(values))
    return codes, list(numbers)


def distinct_numbers(values: Array) -> tuple[NDArray[np.intp], Array]:
    """Return distinct numbers, and for each number which of them it is."""
    if values.size <= FEW:
        codes, few = distinct(values.ravel().tolist())
        return codes.reshape(values.shape), np.array(few, values.dtype)
    if values.dtype == np.bool_:
        codes, known = distinct_numbers(values.view(np.uint8))
        return codes, known.astype(np.bool_)
    if values.size and values.dtype.kind in "iu":
        least, most = int(values.min()), int(values.max())
        if most - least < _NARROW:
            places = (values - np.asarray(least, values.dtype)).astype(np.intp)
            present = np.zeros(most - least + 1, np.bool_)
            present[places] = True
            known = np.flatnonzero(present).astype(values.dtype)
            known += np.asarray(least, values.dtype)
            return (np.cumsum(present) - 1)[places], known
    known, codes = np.unique(values, return_inverse=True)
    return codes.reshape(values.shape), known


def terms_of(vector: Vector) -> Terms:
    """Return a vector of any kind by its distinct values."""
    if isinstance(vector, Terms):
        return vector
    if isinstance(vector, Raw):
        return vector.terms
    codes, known = distinct_numbers(vector.values)
    return Terms(codes, known.tolist(), vector.error)


def apply(function: Callable[..., Any], operands: Iterable[Vector], dtype: Any) -> Vector:
    """Call a function once for each distinct combination of operands.

    dtype: of the numbers that it returns; None: it returns strings or lists. A RowError makes all
    rows of that combination errors.
    """
    first, *others = map(terms_of, operands)
    codes, error = first.codes, first.error
    combinations: list[tuple[Any, ...]] = [(value,) for value in first.known]
    for other in others:
        if not other.codes.ndim:
            combinations = [(*each, other.known[int(other.codes)]) for each in combinations]
            error = error | other.error
            continue
        pairs, chosen = distinct_numbers(codes * len(other.known) + other.codes)
        split = (divmod(pair, len(other.known)) for pair in np.atleast_1d(chosen).tolist())
        combinations = [(*combinations[left], other.known[right]) for left, right in split]
        codes, error = pairs, error | other.error
    results, failed = _called(function, combinations)
    error = error | failed[codes] if failed.any() else error
    if dtype is None:
        return Terms(codes, results, error)
    return Numbers(np.asarray([result or 0 for result in results], dtype)[codes], error)


def _called(
    function: Callable[..., Any], combinations: list[tuple[Any, ...]]
) -> tuple[list[Any], Mask]:
    try:
        return list(starmap(function, combinations)), np.zeros(len(combinations), np.bool_)
    except RowError:
        results: list[Any] = []
        failed = np.zeros(len(combinations), np.bool_)
        for number, values in enumerate(combinations):
            try:
                results.append(function(*values))
            except RowError:
                results.append("")
                failed[number] = True
        return results, failed
