# SPDX-License-Identifier: Apache-2.0
"""Messages with placeholders: {column} is the column's value, {{ and }} are braces.

Plain Python: the operator checks what an agent fills in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[^{}]+|[{}]")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class TemplateInvalid(ValueError):
    """A template is wrong; the message names the character, counted from 1."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Stands for a value."""

    column: str
    position: int
    """Of its brace, counted from 0."""


def parts(text: str) -> Sequence[str | Placeholder]:
    """Return plain texts and placeholders, in their order. Raises TemplateInvalid."""
    found: list[str | Placeholder] = []
    for match in _PART.finditer(text):
        whole, column = match.group(0), match.group(1)
        if whole in ("{{", "}}"):
            found.append(whole[0])
        elif column is not None and _NAME.fullmatch(column):
            found.append(Placeholder(column, match.start()))
        elif column is not None:
            raise TemplateInvalid(
                f"at character {match.start() + 1}: {whole[:40]} names no column; write {{{{ for a"
                " brace"
            )
        elif whole in "{}":
            raise TemplateInvalid(
                f"at character {match.start() + 1}: {whole} stands alone; write {whole * 2}"
            )
        else:
            found.append(whole)
    return found
