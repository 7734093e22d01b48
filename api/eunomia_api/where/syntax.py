# SPDX-License-Identifier: Apache-2.0
"""The parts of an expression that was understood.

Each has a type and the position, from 0, of the character at which it begins (of an operation:
where its operator stands).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal as OneOf

from eunomia_api.where.types import Type

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Node:
    """Any part."""

    position: int
    type: Type

    @property
    def parts(self) -> "tuple[Node, ...]":
        """The parts directly inside, in the order of the fields."""
        found: list[Node] = []
        for field in fields(self):
            value = getattr(self, field.name)
            found += (each for each in _listed(value) if isinstance(each, Node))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A value as written; a duration as int of nanoseconds."""

    value: Value


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A column, one of CONSTANTS, LABELS, or the variable of a quantifier around it."""

    name: str
    kind: OneOf["column", "owner", "variable"]


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """Elements in brackets."""

    elements: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """!operand"""

    operand: Node


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """-operand"""

    operand: Node


@dataclass(frozen=True, slots=True)
class Both(Node):
    """All of two or more hold: a && b"""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either(Node):
    """One of two or more holds: a || b"""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """left operator right"""

    operator: OneOf["==", "!=", "<", "<=", ">", ">="]
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class In(Node):
    """item in container"""

    item: Node
    container: Node


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """left operator right; + also joins two texts"""

    operator: OneOf["+", "-", "*", "/", "%"]
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """condition ? yes : no"""

    condition: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Index(Node):
    """container[index]; of labels also labels.index"""

    container: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """function(arguments), or the first argument .function(the others)"""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quantifier(Node):
    """range.exists(variable, condition) or range.all(variable, condition)"""

    function: OneOf["exists", "all"]
    range: Node
    variable: str
    condition: Node


def walk(node: Node) -> Iterator[Node]:
    """Give a part and all parts inside it."""
    yield node
    for part in node.parts:
        yield from walk(part)


def _listed(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
