# SPDX-License-Identifier: Apache-2.0
"""Patterns that say no more than a few texts do."""

import itertools
from collections.abc import Callable, Mapping

import pytest

from eunomia_agent.trackers.pattern import MAX_TEXTS, alternatives
from eunomia_api.where.pattern import compiled

HOLDS: Mapping[str, Callable[[str, str], bool]] = {
    "==": lambda text, asked: text == asked,
    "startsWith": lambda text, asked: text.startswith(asked),
    "endsWith": lambda text, asked: text.endswith(asked),
    "contains": lambda text, asked: asked in text,
}


@pytest.mark.parametrize(
    "pattern",
    [
        "/(ba|da|a|)?sh$",
        "^/a(b|[a-b]/)?$",
        "^[ab/]{2}",
        "a\\.b",
        "^$",
        "$",
        "((a|b)/|s){2}h",
        "[a-]b",
    ],
)
def test_a_pattern_is_found_where_one_of_its_texts_is(pattern: str) -> None:
    questions = alternatives(pattern)
    assert questions is not None
    for length in range(6):
        for letters in itertools.product("ab/sh."[: 7 - length], repeat=length):
            text = "".join(letters)
            found = compiled(pattern).search(text.encode()) is not None
            assert any(HOLDS[sign](text, asked) for sign, asked in questions) == found, text


def test_what_says_the_same_again_crowds_nothing_out() -> None:
    questions = alternatives("/(" + "[,-9:-=@-Za-m]|" * 75 + "~)$")
    assert questions is not None
    assert (len(questions), questions[-1]) == (59, ("endsWith", "/~"))


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "a*",
            "a+",
            "a.b",
            "[^a]",
            "(?i)a",
            "\\d",
            "a{1,2}",
            "a|b$",
            "^a|b",
            "a??",
            "[[:alpha:]]",
        ),
        *("a$b", "(a$)", "a^", "[a-z]{2}", f"[a-z]{{{MAX_TEXTS + 1}}}", "\\pL", "(?:a)", "a\\"),
        # What RE2 takes for letters that stand for themselves.
        *("a{2", "a{02}", "a{\u0662}", "a{2$", "a{}", "a{ 2}"),
        # What would take more of the stack or of memory than there is.
        *("(" * 400 + "a" + ")" * 400, "((((a{064}){064}){064}){064})", "(((a{64}){64}){64})"),
    ],
)
def test_what_stands_for_more_than_a_few_texts_is_none_of_these(pattern: str) -> None:
    assert alternatives(pattern) is None
