# SPDX-License-Identifier: Apache-2.0
"""`where` on whole columns: which rows of a batch meet a condition (`eunomia_api.where`).

A row for which there is no answer, such as one divided by zero, does not meet it; && and || answer
all the same where one side settles it. Texts are looked at once for each distinct value.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.where import number
from eunomia_agent.events.where.comparison import compared, member, truths
from eunomia_agent.events.where.function import called, element
from eunomia_agent.events.where.number import NOWHERE
from eunomia_agent.events.where.quantifier import quantified
from eunomia_agent.events.where.scope import DTYPES, Constants, Part, Scope
from eunomia_agent.events.where.vector import (
    Mask,
    Numbers,
    Terms,
    Vector,
    apply,
    constant,
    terms_of,
)
from eunomia_api.where import Expression, syntax, types
from eunomia_api.where.syntax import Node

Rows = Scope | Part
_INTEGERS = frozenset({types.INT, types.NANOSECONDS, types.DURATION})
_QUICK = frozenset({"startsWith", "endsWith"})


def mask(expression: Expression, batch: Batch, constants: Constants) -> Mask:
    """Return for each row whether the expression is true: bool of shape (n,).

    constants: what the names of `eunomia_api.where.CONSTANTS` and its LABELS, as far as they are
    asked for, are in all rows. A row that lacks a column is as one for which there is no answer.
    """
    return met(in_order(expression), Scope(batch, constants))


def in_order(expression: Expression) -> tuple[Node, ...]:
    """Return the conditions that must all hold, those first that take the least time."""
    return tuple(sorted(expression.conjuncts, key=_cost))


def met(conjuncts: Iterable[Node], rows: Rows) -> Mask:
    """Return for each of some rows whether all conditions hold: bool of shape (n,).

    Each is asked of the rows alone that met those before it. A scope may be asked again and again:
    what was looked up in it once is known.
    """
    count = len(rows)
    left = np.arange(count)
    for conjunct in conjuncts:
        if not len(left):
            break
        found = truths(value(conjunct, rows))
        held = np.flatnonzero(np.broadcast_to(found.values & ~found.error, len(left)))
        if len(held) < len(left):
            rows, left = Part(rows, held), left[held]
    whether = np.zeros(count, np.bool_)
    whether[left] = True
    return whether


def value(node: Node, rows: Rows) -> Vector:
    """Return what a part of an expression is in each of some rows."""
    return _BY_KIND[type(node)](node, rows)


def _cost(node: Node) -> int:
    """Return how long a condition takes beside others: 0 numbers, 1 texts, 2 anything else."""
    parts = list(syntax.walk(node))
    calls = {part.function for part in parts if isinstance(part, syntax.Call)}
    if calls - _QUICK or any(isinstance(part, syntax.Quantifier) for part in parts):
        return 2
    return int(any(part.type == types.STRING for part in parts))


def _literal(node: syntax.Literal, _: Rows) -> Vector:
    return constant(node.value, DTYPES.get(node.type))


def _name(node: syntax.Name, rows: Rows) -> Vector:
    return rows.value(node)


def _list(node: syntax.ListOf, rows: Rows) -> Vector:
    if not node.elements:
        return constant([])
    return apply(lambda *each: list(each), [value(each, rows) for each in node.elements], None)


def _not(node: syntax.Not, rows: Rows) -> Vector:
    found = truths(value(node.operand, rows))
    return Numbers(~found.values, found.error)


def _both(node: syntax.Both, rows: Rows) -> Vector:
    return _settled(node.operands, rows, by=False)


def _either(node: syntax.Either, rows: Rows) -> Vector:
    return _settled(node.operands, rows, by=True)


def _settled(operands: tuple[Node, ...], rows: Rows, *, by: bool) -> Numbers:
    """Return && (settled by one that is false) or || (by one that is true)."""
    settled, error = NOWHERE, NOWHERE
    for operand in operands:
        found = truths(value(operand, rows))
        settled = settled | ((found.values == by) & ~found.error)
        error = error | found.error
    return Numbers(settled == by, error & ~settled)


def _compare(node: syntax.Compare, rows: Rows) -> Vector:
    return compared(node.operator, value(node.left, rows), value(node.right, rows))


def _in(node: syntax.In, rows: Rows) -> Vector:
    item = value(node.item, rows)
    if isinstance(node.container, syntax.ListOf):
        return member(item, [value(each, rows) for each in node.container.elements])
    return apply(_is_in, [item, value(node.container, rows)], np.bool_)


def _is_in(item: object, elements: Container[object]) -> bool:
    return item in elements


def _arithmetic(node: syntax.Arithmetic, rows: Rows) -> Vector:
    left, right = value(node.left, rows), value(node.right, rows)
    if not isinstance(left, Numbers) or not isinstance(right, Numbers):
        return apply(number.ADD, [left, right], None)
    left, right = _bounded(left, node), _bounded(right, node)
    found, error = number.calculate(node.operator, left.values, right.values)
    return Numbers(found, error | left.error | right.error)


def _negative(node: syntax.Negative, rows: Rows) -> Vector:
    operand = _bounded(truths(value(node.operand, rows)), node)
    found, error = number.negative(operand.values)
    return Numbers(found, error | operand.error)


def _conditional(node: syntax.Conditional, rows: Rows) -> Vector:
    condition = truths(value(node.condition, rows))
    yes, no = value(node.yes, rows), value(node.no, rows)
    holds = condition.values
    if isinstance(yes, Numbers) and isinstance(no, Numbers):
        yes, no = _bounded(yes, node), _bounded(no, node)
        error = condition.error | np.where(holds, yes.error, no.error)
        return Numbers(np.where(holds, yes.values, no.values), error)
    one, other = terms_of(yes), terms_of(no)
    codes = np.where(holds, one.codes, other.codes + len(one.known))
    error = condition.error | np.where(holds, one.error, other.error)
    return Terms(codes, [*one.known, *other.known], error)


def _index(node: syntax.Index, rows: Rows) -> Vector:
    operands = [value(node.container, rows), value(node.index, rows)]
    return apply(element, operands, DTYPES.get(node.type))


def _call(node: syntax.Call, rows: Rows) -> Vector:
    return called(node.function, [value(each, rows) for each in node.arguments], node.type)


def _quantifier(node: syntax.Quantifier, rows: Rows) -> Vector:
    return quantified(node, terms_of(value(node.range, rows)), rows, value)


def _bounded(operand: Numbers, node: Node) -> Numbers:
    """Return what is an int as int64: a column may hold more, with which nothing is calculated."""
    if node.type not in _INTEGERS:
        return operand
    values, error = number.as_int(operand.values)
    return replace(operand, values=values, error=operand.error | error)


_BY_KIND: Mapping[type[Node], Callable[[Any, Rows], Vector]] = {
    syntax.Literal: _literal,
    syntax.Name: _name,
    syntax.ListOf: _list,
    syntax.Not: _not,
    syntax.Both: _both,
    syntax.Either: _either,
    syntax.Compare: _compare,
    syntax.In: _in,
    syntax.Arithmetic: _arithmetic,
    syntax.Negative: _negative,
    syntax.Conditional: _conditional,
    syntax.Index: _index,
    syntax.Call: _call,
    syntax.Quantifier: _quantifier,
}
