# SPDX-License-Identifier: Apache-2.0
"""A whole expression."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from eunomia_api.where import check, parser, syntax, types
from eunomia_api.where.column import Column
from eunomia_api.where.errors import WhereInvalid

MAX_CHARACTERS = 2048


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


def parse(text: str, columns: Sequence[Column]) -> Expression:
    """Return what a text means for rows of these columns. Raises WhereInvalid."""
    if len(text) > MAX_CHARACTERS:
        raise WhereInvalid(MAX_CHARACTERS, f"it is longer than {MAX_CHARACTERS} characters", text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WhereInvalid(error.start, "it holds what no text in UTF-8 can hold", text) from None
    if not text.strip():
        raise WhereInvalid(0, "it is empty", text)
    return Expression(check.root_of(parser.tree_of(text), columns, text))
