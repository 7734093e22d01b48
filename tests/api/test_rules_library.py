# SPDX-License-Identifier: Apache-2.0
"""The built-in rules: what each must have."""

import re

import pytest

from eunomia_api.library import built_in
from eunomia_api.policy_acceptance import wrong
from eunomia_api.rule import LibraryRule, Severity
from eunomia_api.tracker import Catalogue

TECHNIQUE = re.compile(r"T\d{4}(\.\d{3})?")
RULES = built_in().rules
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


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
