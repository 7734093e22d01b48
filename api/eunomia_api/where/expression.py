# SPDX-License-Identifier: Apache-2.0
"""A whole expression."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from eunomia_api.where import check, parser, syntax, types
from eunomia_api.where.column import Column
from eunomia_api.where.errors import WhereInvalid

MAX_CHARACTERS = 2048
MAX_COMM_BYTES = 15


@dataclass(frozen=True)
class Expression:
    """A condition on rows that was checked against their columns."""

    root: syntax.Node
    """Of type bool."""

    @property
    def conjuncts(self) -> tuple[syntax.Node, ...]:
        """The conditions that must all hold."""
        return self.root.operands if isinstance(self.root, syntax.Both) else (self.root,)

    @cached_property
    def columns(self) -> frozenset[str]:
        """Names of the columns that it reads."""
        names = (node for node in syntax.walk(self.root) if isinstance(node, syntax.Name))
        return frozenset(node.name for node in names if node.kind == "column")

    @classmethod
    def of(cls, conjuncts: Sequence[syntax.Node]) -> "Expression | None":
        """Return the expression that all of these hold; None where there are none."""
        if not conjuncts:
            return None
        if len(conjuncts) == 1:
            return cls(conjuncts[0])
        return cls(syntax.Both(conjuncts[0].position, types.BOOL, tuple(conjuncts)))


def parse(text: str, columns: Sequence[Column], hidden: Sequence[Column] = ()) -> Expression:
    """Return what a text means for rows of these columns. Raises WhereInvalid.

    hidden: what no row shows, and the kernel alone can decide on: by comparisons that it knows.
    """
    if len(text) > MAX_CHARACTERS:
        raise WhereInvalid(MAX_CHARACTERS, f"it is longer than {MAX_CHARACTERS} characters", text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WhereInvalid(error.start, "it holds what no text in UTF-8 can hold", text) from None
    if not text.strip():
        raise WhereInvalid(0, "it is empty", text)
    found = Expression(check.root_of(parser.tree_of(text), [*columns, *hidden], text))
    names = {column.name for column in hidden}
    for node in found.conjuncts:
        _check_hidden(node, names, text)
    return found


def _check_hidden(conjunct: syntax.Node, hidden: Collection[str], text: str) -> None:
    """Raise WhereInvalid for what would need a hidden column's value in a row."""
    if isinstance(conjunct, syntax.Both):
        for operand in conjunct.operands:
            _check_hidden(operand, hidden, text)
        return
    parts = [node for node in syntax.walk(conjunct) if isinstance(node, syntax.Name)]
    named = next((node for node in parts if node.kind == "column" and node.name in hidden), None)
    if named is not None and not _is_for_kernel(conjunct):
        reason = (
            f"no row shows {named.name}: compare it with one value, by an operator other than !=,"
            " and join that to the rest by &&"
        )
        raise WhereInvalid(named.position, reason, text)


def _is_for_kernel(node: syntax.Node) -> bool:
    match node:
        case syntax.Compare(operator="!="):
            return False
        case syntax.Compare(left=syntax.Name(), right=syntax.Literal(value=value)):
            return _fits(value)
        case syntax.Compare(left=syntax.Literal(value=value), right=syntax.Name()):
            return _fits(value)
        case syntax.Call(
            function="startsWith", arguments=(syntax.Name(), syntax.Literal(value=value))
        ):
            return _fits(value)
        case _:
            return False


def _fits(value: object) -> bool:
    """Tell whether the kernel can compare with a value: a number, or a thread's name."""
    return not isinstance(value, str) or len(value.encode()) <= MAX_COMM_BYTES
