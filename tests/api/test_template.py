# SPDX-License-Identifier: Apache-2.0
"""A message's placeholders are columns, and its braces can be written."""

import pytest

from eunomia_api.template import Placeholder, TemplateInvalid, parts


def test_placeholders_stand_between_plain_texts() -> None:
    assert parts("{comm} ({pid}) wrote {{a}} to {path}") == [
        Placeholder("comm", 0),
        " (",
        Placeholder("pid", 8),
        ") wrote ",
        "{",
        "a",
        "}",
        " to ",
        Placeholder("path", 30),
    ]
    assert parts("{{{comm}") == ["{", Placeholder("comm", 2)]
    assert parts("") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a {", "at character 3: { stands alone; write {{"),
        ("a } b", "at character 3: } stands alone; write }}"),
        ("{}", "at character 1: {} names no column; write {{ for a brace"),
        ("{0}", "at character 1: {0} names no column; write {{ for a brace"),
        ("{comm.__class__}", "at character 1: {comm.__class__} names no column; write {{ for a"),
        ("{a{b}}", "at character 1: { stands alone; write {{"),
    ],
)
def test_what_is_no_placeholder_is_named_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(TemplateInvalid) as invalid:
        parts(text)
    assert str(invalid.value).startswith(reason)
