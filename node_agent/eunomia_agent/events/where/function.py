# SPDX-License-Identifier: Apache-2.0
"""The functions of a `where` on whole columns."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eunomia_agent.events.where import number
from eunomia_agent.events.where.comparison import asked
from eunomia_agent.events.where.scope import DTYPES
from eunomia_agent.events.where.vector import Numbers, RowError, Vector, apply, terms_of
from eunomia_api.where import pattern
from eunomia_api.where.literal import INT_LEAST, INT_MOST
from eunomia_api.where.types import Type

_INT = re.compile(r"[+-]?[0-9]{1,32}")
_DOUBLE = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def called(function: str, arguments: Sequence[Vector], result: Type) -> Vector:
    """Return what a function gives in each row. result: the type of that."""
    first, *others = arguments
    if others:
        quick = asked(function, first, others[0])
        if quick is not None:
            return quick
    if function == "matches":
        return _matches(first, others[0])
    if isinstance(first, Numbers) and function == "int":
        values, error = number.as_int(first.values)
        return Numbers(values, error | first.error)
    if isinstance(first, Numbers) and function == "double":
        return Numbers(first.values.astype(np.float64), first.error)
    return apply(_FUNCTIONS[function], arguments, DTYPES.get(result))


def element(all_: list[Any] | Mapping[str, str], place: Any) -> Any:
    """Return one of a list, or a label. Raises RowError when there is none, or it is no int."""
    if not isinstance(all_, list):
        if place not in all_:
            raise RowError
        return all_[place]
    if not 0 <= place < len(all_):
        raise RowError
    found = all_[place]
    if isinstance(found, int) and found > INT_MOST:
        raise RowError
    return found


def _matches(texts: Vector, wanted: Vector) -> Vector:
    search = pattern.compiled(terms_of(wanted).known[0]).search

    def found(text: str) -> bool:
        return search(text.encode()) is not None

    return apply(found, [texts], np.bool_)


def _int(text: str) -> int:
    if not _INT.fullmatch(text) or not INT_LEAST <= int(text) <= INT_MOST:
        raise RowError
    return int(text)


def _double(text: str) -> float:
    if not _DOUBLE.fullmatch(text) or math.isinf(float(text)):
        raise RowError
    return float(text)


def _string(value: object) -> str:
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
    "size": len,
    "int": _int,
    "double": _double,
    "string": _string,
}
