# SPDX-License-Identifier: Apache-2.0
"""What an alert says: a text in which {column} stands for the value of a column of its row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from eunomia_agent.events.render import duration, escaped
from eunomia_api.template import Placeholder, parts

MAX_VALUE = 256
"""Characters of one value."""
MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders for columns; see eunomia_api.template."""

    parts: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return a template. Raises TemplateInvalid, a ValueError, with the place."""
        return cls(tuple(parts(text)))

    @property
    def names(self) -> Iterator[str]:
        """The columns that it names."""
        return (part.column for part in self.parts if isinstance(part, Placeholder))

    def filled(self, row: Mapping[str, Any], types: Mapping[str, str]) -> str:
        """Return the text for a row as JSON has it; no value in it has unprintable characters.

        types: of the columns. What a row does not have is empty.
        """
        found = [
            part
            if isinstance(part, str)
            else _cut(shown(row.get(part.column), types.get(part.column, "")), MAX_VALUE)
            for part in self.parts
        ]
        return _cut("".join(found), MAX_MESSAGE)


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
