# SPDX-License-Identifier: Apache-2.0
"""Adds up the rows of a batch by the values of some columns, without looking at each row."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import REFERENCES

_WORD = 8
_FACTORS = np.array([secrets.randbits(64) | 1 for _ in range(64)], np.uint64)
"""Known to nobody, so that by chance alone few values have the same sum."""


def groups(
    rows: Batch, columns: Sequence[str], *, add: str | None = None
) -> Iterator[tuple[tuple[str, ...], int]]:
    """Give each set of values, as people read them, with the number of events that have it.

    add: a column to add up instead of the events.
    """
    if not len(rows):
        return
    amounts = _amounts(rows, add)
    if not columns:
        yield (), int(amounts.sum())
        return
    first, inverse = _distinct(rows, columns)
    sums = np.zeros(len(first), np.uint64)
    np.add.at(sums, inverse, amounts)
    samples = rows.take(first)
    texts = [samples.text(name) for name in columns]
    yield from zip(zip(*texts, strict=True), sums.tolist(), strict=True)


def _amounts(rows: Batch, add: str | None) -> NDArray[np.uint64]:
    if add is None and rows.layout.source == "events":
        return np.ones(len(rows), np.uint64)
    return rows.fixed[add or "count"].astype(np.uint64)


def _distinct(rows: Batch, columns: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the index of a row for each set of values, and for each row which set it has."""
    parts = [_numbers(rows, name) for name in columns]
    words = np.concatenate(parts, axis=1)
    if (words == words[0]).all():
        return np.zeros(1, np.intp), np.zeros(len(rows), np.intp)
    mixed = (words * np.resize(_FACTORS, words.shape[1])).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(29)
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    if not np.array_equal(words, words[first[inverse.reshape(-1)]]):
        # Whoever chooses values can make some of one sum without knowing any factor.
        _, first, inverse = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def _numbers(rows: Batch, name: str) -> NDArray[np.uint64]:
    """Return a column as words: rows with the same value have the same ones."""
    column = rows.layout.column(name)
    if column.meaning in REFERENCES:
        known: dict[bytes, int] = {}
        numbers = [known.setdefault(each, len(known)) for each in rows.bytes_of(name)]
        return np.array(numbers, np.uint64).reshape(-1, 1)
    values: NDArray[Any] = rows.fixed[name]
    if column.kind == "chars":
        values = values.astype(f"S{column.size}")
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), -1)
    padded = np.zeros((len(rows), -(-raw.shape[1] // _WORD) * _WORD), np.uint8)
    padded[:, : raw.shape[1]] = raw
    return padded.view(np.uint64)
