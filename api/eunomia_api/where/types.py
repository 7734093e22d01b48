# SPDX-License-Identifier: Apache-2.0
"""The types of the language, as the CEL specification has them, and one of our own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Type:
    """A type; element: of a list, whose element it is."""

    name: str
    element: "Type | None" = None

    def __str__(self) -> str:
        return f"list({self.element})" if self.element else self.name


BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
DURATION = Type("duration")
NANOSECONDS = Type("int of nanoseconds")
"""A column that tells a length of time: an int, and comparable with a duration as well."""
EMPTY = Type("list", Type("nothing"))
"""[]"""
LABELS = Type("map(string, string)")
"""The one map that there is."""

NUMBERS = frozenset({INT, UINT, DOUBLE, NANOSECONDS})
TIMES = frozenset({DURATION, NANOSECONDS})


def list_of(element: Type) -> Type:
    """Return the type of lists of these elements."""
    return Type("list", element)


def comparable(left: Type, right: Type) -> bool:
    """Tell whether == is defined. Numbers compare by value, whatever their types."""
    if left.element and right.element:
        return EMPTY in (left, right) or comparable(left.element, right.element)
    return left == right or {left, right} <= NUMBERS or {left, right} <= TIMES


def ordered(left: Type, right: Type) -> bool:
    """Tell whether < is defined."""
    return comparable(left, right) and not left.element and left != LABELS


def a(type_: Type) -> str:
    """Return a type with its article."""
    return f"{'an' if str(type_)[0] in 'aeio' else 'a'} {type_}"
