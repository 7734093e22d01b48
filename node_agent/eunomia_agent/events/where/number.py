# SPDX-License-Identifier: Apache-2.0
"""Whole columns of numbers, calculated and compared as CEL does it.

int is int64, uint is uint64, double is float64, bool is bool. A calculation tells for each row
whether it failed: beyond the type's bounds, division by zero.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Result = tuple[Array, NDArray[np.bool_]]
"""Values, and where they are an error."""

NOWHERE: NDArray[np.bool_] = np.zeros((), np.bool_)
ADD: Callable[[Any, Any], Any] = operator.add
_LEAST = np.int64(-(2**63))
ORDER: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SWAPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compare(sign: str, left: Array, right: Array) -> NDArray[np.bool_]:
    """Compare by value, whatever the types: no number is rounded for it."""
    if left.dtype.kind == "f" and right.dtype.kind in "iu":
        return compare(_SWAPPED[sign], right, left)
    found: NDArray[np.bool_]
    if left.dtype.kind in "iu" and right.dtype.kind == "f":
        found = _with_float(sign, left, right)
    elif left.dtype != right.dtype:
        found = _with_unsigned(sign, left, right)
    else:
        found = np.asarray(ORDER[sign](left, right))
    return found


def _with_unsigned(sign: str, left: Array, right: Array) -> NDArray[np.bool_]:
    """Compare int64 with uint64: what is negative is less, the others fit."""
    if left.dtype.kind == "u":
        return _with_unsigned(_SWAPPED[sign], right, left)
    as_unsigned = ORDER[sign](left.astype(np.uint64), right)
    return np.where(left < 0, sign in ("!=", "<", "<="), as_unsigned)


def _with_float(sign: str, left: Array, right: Array) -> NDArray[np.bool_]:
    """Compare whole numbers with float64. Rounding keeps the order, except that it makes equal."""
    order = ORDER[sign]
    rounded = left.astype(np.float64)
    limit = 2.0**64 if left.dtype.kind == "u" else 2.0**63
    beyond = right >= limit
    with np.errstate(invalid="ignore"):
        exact = np.where(beyond | ~np.isfinite(right), 0.0, right).astype(left.dtype)
    whole = np.where(beyond, sign in ("!=", "<", "<="), order(left, exact))
    return np.where(rounded == right, whole, order(rounded, right))


def calculate(sign: str, left: Array, right: Array) -> Result:
    """Calculate with two columns of one type; / and % of whole numbers cut towards zero."""
    with np.errstate(all="ignore"):
        if left.dtype.kind == "f":
            return _float(sign, left, right), NOWHERE
        if left.dtype.kind == "u":
            return _unsigned(sign, left, right)
        return _signed(sign, left, right)


def _float(sign: str, left: Array, right: Array) -> Array:
    calculations: Mapping[str, Callable[[Any, Any], Any]] = {
        "+": np.add,
        "-": np.subtract,
        "*": np.multiply,
        "/": np.divide,
    }
    return np.asarray(calculations[sign](left, right))


def _signed(sign: str, left: Array, right: Array) -> Result:
    if sign == "+":
        total = np.add(left, right)
        return total, ((left ^ total) & (right ^ total)) < 0
    if sign == "-":
        rest = np.subtract(left, right)
        return rest, ((left ^ right) & (left ^ rest)) < 0
    if sign == "*":
        product = np.multiply(left, right)
        safe = np.where((left == 0) | (left == -1), np.int64(1), left)
        other = (left != 0) & (_quotient(product, safe) != right)
        return product, np.where(left == -1, right == _LEAST, other)
    wrong = (right == 0) | ((right == -1) & (left == _LEAST))
    divisor = np.where(wrong, np.int64(1), right)
    return (np.fmod if sign == "%" else _quotient)(left, divisor), wrong


def _quotient(left: Array, right: Array) -> Array:
    return np.asarray(np.floor_divide(left - np.fmod(left, right), right))


def _unsigned(sign: str, left: Array, right: Array) -> Result:
    if sign == "+":
        total = np.add(left, right)
        return total, total < left
    if sign == "-":
        return np.subtract(left, right), left < right
    if sign == "*":
        product = np.multiply(left, right)
        safe = np.where(left == 0, np.uint64(1), left)
        return product, (left != 0) & (np.floor_divide(product, safe) != right)
    zero = right == 0
    divisor = np.where(zero, np.uint64(1), right)
    return (np.fmod if sign == "%" else np.floor_divide)(left, divisor), zero


def as_int(values: Array) -> Result:
    """Return numbers of any type as int64; a fraction is cut off."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            wrong = ~((values > -(2.0**63)) & (values < 2.0**63))
            return np.where(wrong, 0.0, values).astype(np.int64), wrong
    if values.dtype.kind == "u":
        return values.astype(np.int64), values > np.uint64(2**63 - 1)
    return values, NOWHERE


def negative(values: Array) -> Result:
    """Return the negatives of int64 or float64."""
    if values.dtype.kind == "f":
        return np.negative(values), NOWHERE
    with np.errstate(over="ignore"):
        return np.negative(values), np.asarray(values == _LEAST)
