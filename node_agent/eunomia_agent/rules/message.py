# SPDX-License-Identifier: Apache-2.0
"""What an alert says: a text in which {column} stands for the value of a column of its row."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from eunomia_agent.events.render import duration, escaped

MAX_VALUE = 256
"""Characters of one value."""
MAX_MESSAGE = 1024
_PART = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """A text in parts: as written, and names of columns in between."""

    texts: tuple[str, ...]
    """One more than there are names."""
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return a template. {{ and }} stand for braces. Raises ValueError with the place."""
        texts, names, end = [""], list[str](), 0
        for found in _PART.finditer(text):
            texts[-1] += text[end : found.start()]
            end = found.end()
            if found[1]:
                names.append(found[1])
                texts.append("")
            elif len(found[0]) == 1:
                raise ValueError(
                    f"at character {found.start() + 1}: a brace of no column; write {{column}}, "
                    "or two braces for one"
                )
            else:
                texts[-1] += found[0][0]
        texts[-1] += text[end:]
        return cls(tuple(texts), tuple(names))

    def filled(self, row: Mapping[str, Any], types: Mapping[str, str]) -> str:
        """Return the text for a row as JSON has it; no character in it is unprintable.

        types: of the columns. What a row does not have is empty.
        """
        parts = [self.texts[0]]
        for name, text in zip(self.names, self.texts[1:], strict=True):
            parts += [_cut(shown(row.get(name), types.get(name, "")), MAX_VALUE), text]
        return _cut("".join(parts), MAX_MESSAGE)


def shown(value: object, type_: str) -> str:
    """Return a value of a row's JSON as people read it. type_: of its column."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(_word(shown(each, "")) for each in value)
    if type_ == "duration_t" and isinstance(value, int):
        return duration(value)
    if type_ == "percent_t":
        return f"{value}%"
    return escaped(value) if isinstance(value, str) else str(value)


def _word(text: str) -> str:
    return f"'{text}'" if not text or " " in text or "'" in text else text


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
