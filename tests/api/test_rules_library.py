# SPDX-License-Identifier: Apache-2.0
"""The built-in rules: what each must have, and the page that lists them."""

import re
from pathlib import Path

import pytest

from eunomia_api.library import built_in
from eunomia_api.policy_acceptance import wrong
from eunomia_api.rule import LibraryRule, Severity
from eunomia_api.tracker import Catalogue

PAGE = Path(__file__).parents[2] / "docs/rules-library.md"
TECHNIQUE = re.compile(r"T\d{4}(\.\d{3})?")
RULES = built_in().rules
HEAD = """\
# The rules that come with Eunomia

A policy's `rules.builtIn` names a group, or `group/rule`. `eunomia rules show group/rule` shows the
condition of a rule, its exceptions, what to do when it is broken, and the examples that it is
tested with; [rules.md](rules.md) tells how rules are read.

An `event` is worth knowing, and happens in some healthy workloads; a `warning` should be looked at;
an `alert` is no workload's business. Paths are those of the files that were really opened, and
programs are told by the file that runs: symbolic links, relative paths and new names of programs
make no difference. Nor does it where a folder or a single file of the node's or of a container's
root is mounted, and an exception for a program holds for the image's own file alone.
[rules.md](rules.md#what-misleads-rules) tells what does make a difference.
"""

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def page() -> str:
    """The page as it should be."""
    parts = [HEAD]
    for group in built_in().groups.values():
        parts.append(f"\n## {group.group}\n\n{group.help}\n\n")
        parts.append(
            "| rule | severity | ATT&CK | reads | what it means |\n|---|---|---|---|---|\n"
        )
        parts += [row(rule) for rule in group.rules]
    return "".join(parts)


def row(rule: LibraryRule) -> str:
    links = ", ".join(
        f"[{tag}](https://attack.mitre.org/techniques/{tag.replace('.', '/')}/)"
        for tag in rule.tags
    )
    meaning = rule.description.replace("|", "\\|")
    return f"| `{rule.name}` | {rule.severity} | {links} | {', '.join(rule.events)} | {meaning} |\n"


def test_there_are_rules_of_all_kinds() -> None:
    assert len(RULES) >= 40
    assert set(built_in().groups) == {
        "container-escape",
        "execution",
        "network",
        "persistence",
        "sensitive-files",
        "shells",
        "system-calls",
        "tampering",
    }
    assert {rule.severity for rule in RULES.values()} == set(Severity)


def test_a_name_says_which_rule_it_is_without_its_group() -> None:
    names = [rule.name for rule in RULES.values()]
    assert len(set(names)) == len(names)


@every_rule
def test_a_rule_says_what_it_means_and_what_to_do(rule: LibraryRule) -> None:
    assert rule.description.endswith(".")
    assert rule.remedy.endswith(".")
    assert rule.tags
    assert all(TECHNIQUE.fullmatch(tag) for tag in rule.tags)


@every_rule
def test_a_rule_brings_examples_of_its_own_trackers(rule: LibraryRule) -> None:
    assert rule.examples is not None
    for example in [*rule.examples.fires, *rule.examples.silent]:
        assert example.tracker in rule.events


@every_rule
def test_a_rule_can_be_judged_on_the_columns_there_are(rule: LibraryRule) -> None:
    assert wrong(rule, Catalogue.load()) == ""


@every_rule
def test_who_opens_a_file_does_not_matter_but_which_file_does(rule: LibraryRule) -> None:
    """A name (comm) is whatever the process says, so it is never all that a rule looks at."""
    if rule.events == ["access"]:
        assert re.search(r'(path|\btarget)\.|\bfile_type ==|\bkind (==|in) (?!"open")', rule.when)
    for exception in rule.exceptions:
        assert not re.search(r"\bcomm\b", exception.when)


def test_the_page_lists_all_rules_as_they_are() -> None:
    assert PAGE.read_text() == page()
