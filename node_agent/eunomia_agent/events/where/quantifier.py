# SPDX-License-Identifier: Apache-2.0
"""exists() and all(): a condition on the elements of lists, on those of many rows at once."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from eunomia_agent.events.where.comparison import truths
from eunomia_agent.events.where.scope import DTYPES, Index, Part, Scope
from eunomia_agent.events.where.vector import Numbers, Terms, Vector
from eunomia_api.where import syntax, types
from eunomia_api.where.syntax import Node
from eunomia_api.where.types import Type

MOST_ELEMENTS = 1 << 20
"""So many at a time, unless a single row has more."""
Rows = Scope | Part
Value = Callable[[Node, Rows], Vector]


def quantified(node: syntax.Quantifier, lists: Terms, scope: Rows, value: Value) -> Numbers:
    """Return whether a condition holds for one element, or for all. value: of the condition."""
    names = (part for part in syntax.walk(node.condition) if isinstance(part, syntax.Name))
    if any(name.kind == "column" for name in names):
        everyone = np.arange(len(scope))
        codes = np.broadcast_to(lists.codes, len(scope))
        found = _in_rows(node, Terms(codes, lists.known), everyone, scope, value)
    else:
        each = np.arange(len(lists.known))
        found = _in_rows(node, Terms(each, lists.known), each, scope, value).take(lists.codes)
    return Numbers(found.values, found.error | lists.error)


def _in_rows(
    node: syntax.Quantifier, lists: Terms, rows: Index, scope: Rows, value: Value
) -> Numbers:
    """Return the answer for each list. rows: those of the scope that columns are taken from."""
    sizes = np.array([len(each) for each in lists.known], np.intp)
    counts = sizes[lists.codes]
    if len(rows) > 1 and counts.sum() > MOST_ELEMENTS:
        half = len(rows) // 2
        parts = [
            _in_rows(node, lists.take(some), rows[some], scope, value)
            for some in (np.arange(half), np.arange(half, len(rows)))
        ]
        return Numbers(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.error for part in parts]),
        )
    elements = _elements(lists.known, node.range.type.element)
    first = np.cumsum(sizes) - sizes
    before = np.cumsum(counts) - counts
    whose = np.repeat(np.arange(len(rows)), counts)
    places = np.arange(len(whose)) - before[whose] + first[lists.codes][whose]
    inner = Part(scope, rows[whose], {node.variable: elements.take(places)})
    return _answer(node, truths(value(node.condition, inner)), whose, len(rows))


def _elements(known: Sequence[list[Any]], type_: Type | None) -> Vector:
    """Return the elements of some lists, behind one another."""
    flat = list(chain.from_iterable(known))
    if type_ is not None and type_ in DTYPES:
        unsigned = type_ == types.INT and any(each >= 2**63 for each in flat)
        return Numbers(np.asarray(flat, np.uint64 if unsigned else DTYPES[type_]))
    numbers = {each: number for number, each in enumerate(dict.fromkeys(flat))}
    codes = np.fromiter(map(numbers.__getitem__, flat), np.intp, len(flat))
    return Terms(codes, list(numbers))


def _answer(node: syntax.Quantifier, found: Numbers, whose: Index, count: int) -> Numbers:
    """Bring the elements' answers together: one that settles it does so whatever others say."""
    settling = node.function == "exists"

    def any_in_row(mask: Any) -> Any:
        return np.bincount(whose[np.broadcast_to(mask, len(whose))], minlength=count) > 0

    settled = any_in_row((found.values == settling) & ~found.error)
    return Numbers(settled == settling, any_in_row(found.error) & ~settled)
