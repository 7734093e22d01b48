# SPDX-License-Identifier: Apache-2.0
"""Patterns that say no more than a few texts do: `/(ba|da)?sh$` is endsWith of three."""

import re
from collections.abc import Iterable

MAX_TEXTS = 64
"""For one pattern."""
_MAX_LENGTH = 256
_MAX_DEPTH = 16
"""Groups in one another."""
_TIMES = re.compile(r"\{(0|[1-9][0-9]?)\}")
"""Anything else in braces is more than one number, or letters that stand for themselves."""
_SPECIAL = frozenset("\\^$.|?*+()[]{}")
_LETTERS = frozenset("_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _Many(Exception):
    """It stands for more texts than a few, or is written in a way that is not read here."""


def alternatives(pattern: str) -> tuple[tuple[str, str], ...] | None:
    """Return questions of which one holds wherever a pattern of RE2 is found, and nowhere else.

    Each is ==, startsWith, endsWith or contains, with a text. None where there are no such ones, or
    too many: of RE2 (github.com/google/re2/wiki/Syntax), letters, groups, classes of letters, `?`
    and `{n}` are read, with ^ in front and $ behind.
    """
    begins, ends = pattern.startswith("^"), pattern.endswith("$")
    try:
        reading = _Reading(pattern[begins : len(pattern) - ends])
        texts = reading.sequence()
        if reading.rest:
            return None
    except _Many:
        return None
    sign = {(True, True): "==", (True, False): "startsWith", (False, True): "endsWith"}
    return tuple((sign.get((begins, ends), "contains"), text) for text in texts)


class _Reading:
    """A pattern, read from its beginning on."""

    def __init__(self, text: str) -> None:
        self.rest = text
        self._depth = 0

    def sequence(self) -> list[str]:
        """Return the texts of what stands behind one another."""
        found = [""]
        while self.rest and self.rest[0] not in "|)":
            part = self._repeated(self._atom())
            found = _few(before + behind for before in found for behind in part)
        return found

    def _either(self) -> list[str]:
        found = self.sequence()
        while self._takes("|"):
            found += self.sequence()
        return _few(found)

    def _atom(self) -> list[str]:
        first, self.rest = self.rest[0], self.rest[1:]
        if first == "(" and not self.rest.startswith("?"):
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise _Many
            found = self._either()
            self._depth -= 1
            if not self._takes(")"):
                raise _Many
            return found
        if first == "[":
            return self._class()
        if first == "\\" and self.rest and self.rest[0] not in _LETTERS:
            first, self.rest = self.rest[0], self.rest[1:]
        elif first in _SPECIAL:
            raise _Many
        return [first]

    def _class(self) -> list[str]:
        inside, closed, self.rest = self.rest.partition("]")
        letters = list[str]()
        if not closed or not inside or set(inside) & {"^", "[", "\\"}:
            raise _Many
        while inside:
            first, last = inside[0], inside[0]
            if inside[1:2] == "-" and len(inside) > 2:
                last, inside = inside[2], inside[2:]
            inside = inside[1:]
            letters += _few(chr(number) for number in range(ord(first), ord(last) + 1))
        return _few(letters)

    def _repeated(self, part: list[str]) -> list[str]:
        if self._takes("?"):
            part = ["", *part]
        elif self.rest.startswith("{"):
            times = _TIMES.match(self.rest)
            if times is None:
                raise _Many
            self.rest = self.rest[times.end() :]
            whole = [""]
            for _ in range(int(times[1])):
                whole = _few(before + behind for before in whole for behind in part)
            part = whole
        if self.rest[:1] and self.rest[0] in "?*+{":
            raise _Many
        return part

    def _takes(self, sign: str) -> bool:
        found = self.rest.startswith(sign)
        self.rest = self.rest.removeprefix(sign)
        return found


def _few(texts: Iterable[str]) -> list[str]:
    """Return each text once."""
    found: dict[str, None] = {}
    for text in texts:
        found[text] = None
        if len(found) > MAX_TEXTS or len(text) > _MAX_LENGTH:
            raise _Many
    return list(found)
