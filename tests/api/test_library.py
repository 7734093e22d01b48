# SPDX-License-Identifier: Apache-2.0
"""Rules in files: a mistake is named with its file and line, and rules are chosen by group."""

from pathlib import Path

import pytest

from eunomia_api.document import DocumentInvalid
from eunomia_api.library import Library, NoSuchRule, built_in, parse, read

ESCAPE = """\
group: escape
help: Ways out of a container.
rules:
  - name: core-pattern
    severity: alert
    events: [access]
    when: path == "/proc/sys/kernel/core_pattern" && writing
    message: "{comm} wrote {path}"
    examples:
      fires: [{tracker: access, row: {path: /proc/sys/kernel/core_pattern, writing: true}}]
      silent: [{tracker: access, row: {path: /proc/sys/kernel/core_pattern}}]
  - name: kcore
    events: [access]
    when: path == "/proc/kcore"
    message: "{comm} read the kernel's memory"
"""


def library() -> Library:
    return Library({"escape": parse("escape.yaml", ESCAPE.encode())})


def test_rules_are_chosen_by_group_or_name_each_once() -> None:
    chosen = library().select(["escape/kcore", "escape"])
    assert list(chosen) == ["escape/kcore", "escape/core-pattern"]
    assert chosen["escape/core-pattern"].events == ["access"]
    assert list(library().select(["escape"], ["escape/kcore"])) == ["escape/core-pattern"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("escape/kcor", "there is no rule or group 'escape/kcor'; did you mean escape/kcore?"),
        ("zzz", "there is no rule or group 'zzz'; groups: escape"),
    ],
)
def test_a_name_that_is_none_is_answered_with_near_ones(chosen: str, message: str) -> None:
    for names in [chosen], ["escape"]:
        with pytest.raises(NoSuchRule) as unknown:
            library().select(names, [chosen])
        assert str(unknown.value) == message


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("    when: path ==", "    whem: path ==", "f.yaml:4: rules[0].when: is required"),
        ("severity: alert", "severity: bad", "f.yaml:5: rules[0].severity: Input should be"),
        ("severity: alert", "response: Kill", "f.yaml:4: rules[0]: response: Kill can only be"),
        ("name: kcore", "name: core-pattern", "f.yaml:1: each rule may stand once; twice: core-"),
        ("group: escape", "group: escape\ngroup: b", "f.yaml:2: 'group' is no key, or is there"),
        ("rules:", "rules: [", "f.yaml:4: expected the node content"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(old: str, new: str, reason: str) -> None:
    with pytest.raises(DocumentInvalid) as invalid:
        parse("f.yaml", ESCAPE.replace(old, new, 1).encode())
    assert str(invalid.value).startswith(reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "f.yaml:1: Input should be a valid dictionary"),
        (b"\xff", "f.yaml:1: is not UTF-8"),
        (b"a: &a [1]\nb: *a", "f.yaml:1: an alias stands for it: write it out"),
        (b"[" * 100 + b"]" * 100, "f.yaml:1: is nested too deeply"),
        (b"#" * 2_000_000, "f.yaml:1: is larger than 1048576 bytes"),
    ],
)
def test_a_hostile_file_gets_a_short_answer(data: bytes, reason: str) -> None:
    with pytest.raises(DocumentInvalid) as invalid:
        parse("f.yaml", data)
    assert str(invalid.value).startswith(reason)
    assert len(str(invalid.value)) < 200


def test_a_users_own_file_is_read_in_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ESCAPE)
    assert read(path) == library().groups["escape"]


def test_each_rule_that_comes_with_the_package_explains_and_tests_itself() -> None:
    rules = built_in().rules
    assert rules
    silent = [name for name, rule in rules.items() if not (rule.description and rule.remedy)]
    untested = [name for name, rule in rules.items() if rule.examples is None]
    assert (silent, untested) == ([], [])
