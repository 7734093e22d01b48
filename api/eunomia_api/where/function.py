# SPDX-License-Identifier: Apache-2.0
"""The functions of the language, and what the arithmetic operators are defined for."""

from eunomia_api.where import literal, pattern, syntax, types
from eunomia_api.where.syntax import Node
from eunomia_api.where.types import Type, a

METHODS = ("startsWith", "endsWith", "contains", "matches", "size")
"""Written behind a value: path.startsWith("/etc")."""
FUNCTIONS = ("size", "matches", "int", "double", "string", "duration")
"""Written before their arguments: size(path)."""
QUANTIFIERS = ("exists", "all")
"""Written behind a list: args.exists(a, a == "-x")."""

_CONVERSIONS = {
    "int": (types.INT, {*types.NUMBERS, types.STRING}),
    "double": (types.DOUBLE, {*types.NUMBERS, types.STRING}),
    "string": (
        types.STRING,
        {types.STRING, types.BOOL, types.INT, types.UINT, types.NANOSECONDS},
    ),
}
_INTEGERS = {types.INT, types.NANOSECONDS}


class CallInvalid(ValueError):
    """A call is wrong; argument: number of the argument that is, None: the call itself."""

    def __init__(self, reason: str, argument: int | None = None) -> None:
        super().__init__(reason)
        self.argument = argument


def arithmetic(operator: str, left: Type, right: Type) -> Type | None:
    """Return the type of a calculation; None where it is not defined."""
    if operator == "+" and left == right == types.STRING:
        return types.STRING
    if types.NANOSECONDS in (left, right) and {left, right} <= _INTEGERS:
        return types.NANOSECONDS
    if operator in "+-" and {left, right} <= types.TIMES:
        return types.DURATION
    if left == right and left in types.NUMBERS and not (operator == "%" and left == types.DOUBLE):
        return left
    return None


def call(name: str, position: int, arguments: tuple[Node, ...], *, method: bool) -> Node:
    """Return a call whose arguments fit; the first one is what a method stands behind.

    Raises CallInvalid.
    """
    known = METHODS if method else FUNCTIONS
    if name not in known:
        other = name in (FUNCTIONS if method else (*METHODS, *QUANTIFIERS))
        form = f"; write {name}(x)" if method else f"; write it behind a value, as in x.{name}(…)"
        raise CallInvalid(
            f'no function "{name[:64]}"' + (form if other else f"; there are {', '.join(known)}")
        )
    if name == "duration":
        return _duration(position, arguments)
    if name in _CONVERSIONS:
        _count(name, arguments, 1)
        result, taken = _CONVERSIONS[name]
        if arguments[0].type not in taken:
            raise CallInvalid(f"{name}() cannot convert {a(arguments[0].type)}", 0)
        return syntax.Call(position, result, name, arguments)
    if name == "size":
        _count(name, arguments, 1)
        sized = {types.STRING, types.LABELS}
        if arguments[0].type not in sized and arguments[0].type.element is None:
            raise CallInvalid(f"{a(arguments[0].type)} has no size; a string or a list has", 0)
        return syntax.Call(position, types.INT, name, arguments)
    return _on_strings(name, position, arguments)


def _on_strings(name: str, position: int, arguments: tuple[Node, ...]) -> Node:
    _count(name, arguments, 2)
    for number, argument in enumerate(arguments):
        if argument.type != types.STRING:
            raise CallInvalid(f"{name} takes a string, and this is {a(argument.type)}", number)
    if name == "matches":
        found = arguments[1]
        if not isinstance(found, syntax.Literal):
            raise CallInvalid("matches takes a pattern that is written in place", 1)
        try:
            pattern.compiled(str(found.value))
        except ValueError as error:
            raise CallInvalid(str(error), 1) from None
    return syntax.Call(position, types.BOOL, name, arguments)


def _duration(position: int, arguments: tuple[Node, ...]) -> Node:
    _count("duration", arguments, 1)
    (written,) = arguments
    if not isinstance(written, syntax.Literal) or not isinstance(written.value, str):
        raise CallInvalid('duration takes a text, as in duration("5ms")', 0)
    try:
        nanoseconds = literal.nanoseconds(written.value)
    except ValueError as error:
        raise CallInvalid(str(error), 0) from None
    return syntax.Literal(position, types.DURATION, nanoseconds)


def _count(name: str, arguments: tuple[Node, ...], wanted: int) -> None:
    if len(arguments) != wanted:
        inside = {1: "one value", 2: "two values"}[wanted]
        raise CallInvalid(f"{name} takes {inside}, and there are {len(arguments)}")
