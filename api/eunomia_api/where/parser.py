# SPDX-License-Identifier: Apache-2.0
"""Text in, tree out: grammar.lark, read by lark when the first expression comes."""

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from eunomia_api.where.errors import WhereInvalid

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

_SPOKEN = {
    "NAME": "a name",
    "STRING": "a text",
    "INT": "a number",
    "LPAR": "(",
    "RPAR": ")",
    "RSQB": "]",
    "COMMA": ",",
    "COLON": ":",
    "QMARK": "?",
    "$END": "the end",
}
_OPERAND = "LPAR"
"""Stands where any operand may."""


def tree_of(text: str) -> "Tree[Token]":
    """Return the syntax tree of a text. Raises WhereInvalid."""
    from lark.exceptions import (  # noqa: PLC0415
        UnexpectedCharacters,
        UnexpectedEOF,
        UnexpectedToken,
    )

    try:
        return _lark().parse(text)
    except UnexpectedCharacters as error:
        at = error.pos_in_stream or 0
        raise WhereInvalid(at, _character(text, at), text) from None
    except UnexpectedToken as error:
        at = len(text.rstrip()) if error.token.type == "$END" else error.token.start_pos or 0
        reason = _token(str(error.token), error.token.type, error.accepts or error.expected)
        raise WhereInvalid(at, reason, text) from None
    except UnexpectedEOF:
        raise WhereInvalid(len(text), "it ends too early", text) from None


@cache
def _lark() -> "Lark":
    from lark import Lark  # noqa: PLC0415

    grammar = resources.files("eunomia_api.where").joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True)


def _character(text: str, at: int) -> str:
    character = text[at]
    if character in "\"'":
        return f"the text that begins with {character} is not closed, or has a bad escape"
    hints = {"=": "; to compare, write ==", "&": "; write &&", "|": "; write ||"}
    return f"{character!r} cannot stand here{hints.get(character, '')}"


def _token(token: str, kind: str, expected: "set[str]") -> str:
    what = "it ends too early" if kind == "$END" else f"{_shown(token)} cannot stand here"
    if _OPERAND in expected:
        return f"{what}; there should be a column, a value or ("
    words = [_SPOKEN[name] for name in sorted(expected) if name in _SPOKEN and name != "QMARK"]
    operator = ["an operator"] if "COMPARISON" in expected or "FACTOR" in expected else []
    return f"{what}; there should be {' or '.join([*operator, *words])}"


def _shown(token: str) -> str:
    return repr(token if len(token) <= 40 else f"{token[:40]}…")
