# SPDX-License-Identifier: Apache-2.0
"""Comparing whole columns, whatever they hold."""

import operator
from collections.abc import Callable, Mapping

import numpy as np

from eunomia_agent.events.where import number
from eunomia_agent.events.where.number import NOWHERE
from eunomia_agent.events.where.text import Text
from eunomia_agent.events.where.vector import Mask, Numbers, Raw, Terms, Vector, apply

_ON_BYTES: Mapping[str, tuple[Callable[[Text, bytes], Mask], Callable[[bytes, bytes], bool]]] = {
    "==": (Text.equals, operator.eq),
    "startsWith": (Text.starts_with, bytes.startswith),
    "endsWith": (Text.ends_with, bytes.endswith),
}
"""Of all texts at once, and of one."""
MANY = 4
"""Texts compared with so many others are looked at once for each distinct one."""


def compared(sign: str, left: Vector, right: Vector) -> Numbers:
    """Return left SIGN right, of type bool."""
    if isinstance(left, Numbers) and isinstance(right, Numbers):
        found = number.compare(sign, left.values, right.values)
        return Numbers(found, left.error | right.error)
    if sign in ("==", "!="):
        same = asked("==", left, right) or asked("==", right, left)
        if same is not None:
            return same if sign == "==" else Numbers(~same.values, same.error)
    return truths(apply(number.ORDER[sign], [left, right], np.bool_))


def asked(function: str, texts: Vector, other: Vector) -> Numbers | None:
    """Ask texts as they came about a constant; None where that is not to be had.

    function: ==, startsWith or endsWith.
    """
    if not isinstance(texts, Raw) or not texts.plain or not isinstance(other, Terms):
        return None
    # A backslash may stand for a byte that is no text: see render.decoded.
    if function not in _ON_BYTES or other.codes.ndim or "\\" in other.known[0]:
        return None
    of_all, of_one = _ON_BYTES[function]
    value = other.known[0].encode()
    if texts.few:
        codes, known = texts.distinct
        found = np.array([of_one(each, value) for each in known], np.bool_)[codes]
    else:
        found = of_all(texts.text, value)
    return Numbers(found, texts.error | other.error)


def member(item: Vector, elements: list[Vector]) -> Numbers:
    """Return whether an item is one of some elements."""
    terms = [each for each in elements if isinstance(each, Terms) and not each.codes.ndim]
    if len(terms) == len(elements) > MANY:
        known = frozenset(each.known[0] for each in terms)
        return truths(apply(known.__contains__, [item], np.bool_))
    found, error = NOWHERE, item.error
    for element in elements:
        same = compared("==", item, element)
        found, error = found | same.values, error | same.error
    return Numbers(found, error)


def truths(vector: Vector) -> Numbers:
    """Return a vector that is known to be of numbers as such."""
    assert isinstance(vector, Numbers)
    return vector
