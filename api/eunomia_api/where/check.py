# SPDX-License-Identifier: Apache-2.0
"""From a syntax tree to parts with types: what cannot be meant is refused, with its place."""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from eunomia_api.where import function, literal, syntax, types
from eunomia_api.where.column import (
    CONSTANTS,
    LABELS,
    UNUSABLE,
    Column,
    known_values,
    same_error,
    type_of,
)
from eunomia_api.where.errors import WhereInvalid
from eunomia_api.where.syntax import Node
from eunomia_api.where.types import Type, a

MAX_DEPTH = 32
MAX_NODES = 256
MAX_JOINS = 8

_A_LABEL = 'a label is named by a text, as in labels["app"]'

Tree = Any
"""lark's Tree or Token, which are not imported before there is one."""


def root_of(tree: Tree, columns: Sequence[Column], text: str) -> Node:
    """Return what a whole tree means. Raises WhereInvalid."""
    root = _Checker(columns, text).node(tree.children[0], 1)
    if root.type != types.BOOL:
        raise WhereInvalid(0, f"it must be true or false, and is {a(root.type)}; compare it", text)
    return root


class _Checker:
    def __init__(self, columns: Sequence[Column], text: str) -> None:
        self._columns: Mapping[str, Column] = {column.name: column for column in columns}
        self._text = text
        self._variables: dict[str, Type] = {}
        self._nodes = 0
        self._joins = 0

    def node(self, tree: Tree, depth: int) -> Node:
        """Return what a tree means; all that is inside comes first."""
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise self._wrong(tree.meta.start_pos, f"it is nested more than {MAX_DEPTH} deep")
        if self._nodes > MAX_NODES:
            raise self._wrong(tree.meta.start_pos, f"it has more than {MAX_NODES} parts")
        if tree.data in ("method", "function"):
            return self._call(tree, depth)
        position = tree.meta.start_pos
        inner = [
            self.node(child, depth + 1) if hasattr(child, "data") else child
            for child in tree.children
        ]
        build: Callable[..., Node] = getattr(self, f"_{tree.data}")
        return build(position, *inner)

    def _wrong(self, position: int, reason: str) -> WhereInvalid:
        return WhereInvalid(position, reason, self._text)

    def _want(self, node: Node, wanted: Type, who: str) -> Node:
        if node.type != wanted:
            hint = "; compare it" if wanted == types.BOOL else ""
            found = f"takes {a(wanted)}, and this is {a(node.type)}{hint}"
            raise self._wrong(node.position, f"{who} {found}")
        return node

    # ---- values and names ----

    def _literal(self, position: int, token: Any) -> Node:
        try:
            match token.type:
                case "TRUE" | "FALSE":
                    return syntax.Literal(position, types.BOOL, token.type == "TRUE")
                case "STRING":
                    return syntax.Literal(position, types.STRING, literal.text(token))
                case "DOUBLE":
                    return syntax.Literal(position, types.DOUBLE, literal.double(token))
                case "UINT":
                    return syntax.Literal(position, types.UINT, literal.integer(token))
                case _:
                    return syntax.Literal(position, types.INT, literal.integer(token))
        except ValueError as error:
            raise self._wrong(position, str(error)) from None

    def _name(self, position: int, token: Any) -> Node:
        name = str(token)
        if name in self._variables:
            return syntax.Name(position, self._variables[name], name, "variable")
        column = self._columns.get(name)
        if column is not None and column.type in UNUSABLE:
            raise self._wrong(position, f'"{name}" is a date, and cannot be asked for')
        if column is not None:
            return syntax.Name(position, type_of(column), name, "column")
        if name in CONSTANTS:
            return syntax.Name(position, types.STRING, name, "owner")
        if name == LABELS:
            return syntax.Name(position, types.LABELS, name, "owner")
        usable = [each.name for each in self._columns.values() if each.type not in UNUSABLE]
        known = [*self._variables, *usable, *CONSTANTS, LABELS]
        near = _near(name, known)
        raise self._wrong(position, f'no column "{name[:64]}"{near}; there are {", ".join(known)}')

    def _list(self, position: int, _: Any, *elements: Node) -> Node:
        if not elements:
            return syntax.ListOf(position, types.EMPTY, ())
        first = elements[0].type
        for element in elements:
            if element.type.element:
                raise self._wrong(element.position, "a list cannot hold lists")
            if element.type == types.LABELS:
                raise self._wrong(element.position, f"a list cannot hold all labels; {_A_LABEL}")
            if element.type != first:
                raise self._wrong(
                    element.position,
                    f"all in a list must be of one type: {first}, and this is {a(element.type)}",
                )
        return syntax.ListOf(position, types.list_of(first), elements)

    # ---- operators ----

    def _either(self, position: int, *operands: Node) -> Node:
        found: list[Node] = []
        for operand in operands:
            self._want(operand, types.BOOL, "||")
            found += operand.operands if isinstance(operand, syntax.Either) else [operand]
        return syntax.Either(position, types.BOOL, tuple(found))

    def _both(self, position: int, *operands: Node) -> Node:
        found: list[Node] = []
        for operand in operands:
            self._want(operand, types.BOOL, "&&")
            found += operand.operands if isinstance(operand, syntax.Both) else [operand]
        return syntax.Both(position, types.BOOL, tuple(found))

    def _negation(self, position: int, _: Any, operand: Node) -> Node:
        return syntax.Not(position, types.BOOL, self._want(operand, types.BOOL, "!"))

    def _negative(self, position: int, _: Any, operand: Node) -> Node:
        if isinstance(operand, syntax.Literal) and operand.type in (types.INT, types.DOUBLE):
            return syntax.Literal(position, operand.type, -operand.value)  # type: ignore[operator]
        self._in_bounds(operand)
        if operand.type not in (types.INT, types.DOUBLE, types.NANOSECONDS):
            raise self._wrong(position, f"- cannot be put before {a(operand.type)}")
        return syntax.Negative(position, operand.type, operand)

    def _comparison(self, _: int, left: Node, token: Any, right: Node) -> Node:
        operator, position = str(token), token.start_pos
        self._in_bounds(left, right)
        allowed = types.comparable if operator in ("==", "!=") else types.ordered
        if not allowed(left.type, right.type):
            raise self._wrong(
                position, f"{operator} cannot compare {a(left.type)} with {a(right.type)}"
            )
        if operator in ("==", "!="):
            self._can_be(left, right)
            self._can_be(right, left)
        return syntax.Compare(position, types.BOOL, operator, left, right)  # type: ignore[arg-type]

    def _membership(self, _: int, item: Node, token: Any, container: Node) -> Node:
        self._in_bounds(item)
        element = types.STRING if container.type == types.LABELS else container.type.element
        if element is None:
            hint = '; use contains, as in path.contains("x")' if item.type == types.STRING else ""
            raise self._wrong(
                container.position,
                f"in takes a list, as in [1, 2], and this is {a(container.type)}{hint}",
            )
        if container.type != types.EMPTY and not types.comparable(item.type, element):
            raise self._wrong(
                token.start_pos, f"in cannot find {a(item.type)} in {a(container.type)}"
            )
        if isinstance(container, syntax.ListOf):
            for each in container.elements:
                self._can_be(item, each)
        return syntax.In(token.start_pos, types.BOOL, item, container)

    def _arithmetic(self, _: int, left: Node, token: Any, right: Node) -> Node:
        operator = str(token)
        self._in_bounds(left, right)
        result = function.arithmetic(operator, left.type, right.type)
        if result is None:
            raise self._wrong(
                token.start_pos,
                f"{operator} is not defined for {a(left.type)} and {a(right.type)}"
                + ("; convert one by int() or double()" if _mixed(left, right) else ""),
            )
        if result == types.STRING:
            self._joins += 1
            if self._joins > MAX_JOINS:
                raise self._wrong(token.start_pos, f"it joins more than {MAX_JOINS} texts")
        return syntax.Arithmetic(token.start_pos, result, operator, left, right)  # type: ignore[arg-type]

    def _conditional(self, position: int, condition: Node, yes: Node, no: Node) -> Node:
        self._want(condition, types.BOOL, "the condition before ?")
        self._in_bounds(yes, no)
        if {yes.type, no.type} == {types.INT, types.NANOSECONDS}:
            return syntax.Conditional(position, types.INT, condition, yes, no)
        if yes.type != no.type:
            raise self._wrong(
                no.position,
                f"both outcomes must be of one type: {yes.type}, and this is {a(no.type)}",
            )
        return syntax.Conditional(position, yes.type, condition, yes, no)

    def _index(self, position: int, container: Node, index: Node) -> Node:
        if container.type == types.LABELS:
            if index.type != types.STRING:
                raise self._wrong(index.position, f"{_A_LABEL}, and this is {a(index.type)}")
            return syntax.Index(position, types.STRING, container, index)
        if container.type.element is None or container.type == types.EMPTY:
            raise self._wrong(position, f"{a(container.type)} has no elements")
        if not isinstance(index, syntax.Literal) or index.type != types.INT:
            raise self._wrong(index.position, "an element is named by a number, as in args[0]")
        self._in_bounds(index)
        return syntax.Index(position, container.type.element, container, index)

    def _field(self, position: int, of: Node, token: Any) -> Node:
        if of.type == types.LABELS:
            name = syntax.Literal(token.start_pos, types.STRING, str(token))
            return syntax.Index(position, types.STRING, of, name)
        known = ", ".join([*function.METHODS, *function.QUANTIFIERS])
        raise self._wrong(
            token.start_pos, f'nothing has a field "{token[:64]}"; there are the functions {known}'
        )

    def _in_bounds(self, *operands: Node) -> None:
        """Refuse 2^63, which is read so that -2^63 can be written."""
        for operand in operands:
            if (
                isinstance(operand, syntax.Literal)
                and operand.type == types.INT
                and isinstance(operand.value, int)
                and operand.value > literal.INT_MOST
            ):
                raise self._wrong(operand.position, f"an int is at most {literal.INT_MOST}")

    def _can_be(self, item: Node, value: Node) -> None:
        """Refuse to compare a column of few values with what is none of them."""
        if not isinstance(item, syntax.Name) or item.kind != "column":
            return
        if not isinstance(value, syntax.Literal) or not isinstance(value.value, str):
            return
        known, text = known_values(self._columns[item.name]), value.value
        if not known or all(part in known or _is_number(part) for part in text.split("|")):
            return
        other = same_error(text) if self._columns[item.name].type == "errno_t" else None
        hint = f"; rows tell it as {other}" if other else _near(text, known)
        shown = ", ".join(name or '""' for name in known) if len(known) <= 16 else ""
        listed = f"; it can be {shown}" if shown else ""
        raise self._wrong(value.position, f'{item.name} is never "{text[:64]}"{hint}{listed}')

    # ---- functions ----

    def _call(self, tree: Tree, depth: int) -> Node:
        *receiver, token, arguments = tree.children
        name = str(token)
        if receiver and name in function.QUANTIFIERS:
            return self._quantifier(receiver[0], token, arguments.children, depth)
        given = [self.node(child, depth + 1) for child in [*receiver, *arguments.children]]
        self._in_bounds(*given)
        try:
            return function.call(name, token.start_pos, tuple(given), method=bool(receiver))
        except function.CallInvalid as error:
            where = token.start_pos if error.argument is None else given[error.argument].position
            raise self._wrong(where, str(error)) from None

    def _quantifier(self, range_: Tree, token: Any, arguments: list[Tree], depth: int) -> Node:
        name, position = str(token), token.start_pos
        if self._variables:
            raise self._wrong(position, f"{name} cannot stand within another one")
        over = self.node(range_, depth + 1)
        if over.type.element is None:
            raise self._wrong(over.position, f"{name} takes a list, and this is {a(over.type)}")
        if len(arguments) != 2 or arguments[0].data != "name":
            raise self._wrong(
                position, f'{name} takes a name and a condition, as in args.{name}(a, a == "-x")'
            )
        variable = str(arguments[0].children[0])
        self._variables = {variable: over.type.element}
        condition = self._want(self.node(arguments[1], depth + 1), types.BOOL, name)
        self._variables = {}
        return syntax.Quantifier(position, types.BOOL, name, over, variable, condition)  # type: ignore[arg-type]


def _near(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name[:64], known, n=3, cutoff=0.75)
    if not close and len(name) > 2:
        close = [each for each in known if name.casefold() in each.casefold()][:2]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _is_number(text: str) -> bool:
    """Tell whether a text is how a value without a name, or bits without one, are shown."""
    return re.fullmatch("-?[0-9]{1,20}|0x[0-9a-f]{1,16}", text) is not None


def _mixed(left: Node, right: Node) -> bool:
    return {left.type, right.type} <= types.NUMBERS
