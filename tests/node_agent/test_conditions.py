# SPDX-License-Identifier: Apache-2.0
"""What a rule that denies may ask for, and what is said of the others."""

from collections.abc import Mapping

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.errors import DenyNotInKernel
from eunomia_agent.jobs.conditions import Conditions
from eunomia_agent.jobs.whose import Whose
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.key import Enforcement
from eunomia_agent.trackers.paths import PathsByClass, class_of
from eunomia_agent.trackers.pushdown import Condition
from eunomia_api import agent_pb2
from eunomia_api.library import built_in
from eunomia_api.message import rule_message

if not (OBJECTS / "access.bpf.o").exists():
    pytest.skip("needs the objects that the build compiles", allow_module_level=True)


def enforced(tracker: str, rule: agent_pb2.Rule) -> tuple[Mapping[str, Condition], Whose]:
    """Return how the kernel decides what a rule denies, and of whom."""
    found = Catalogue.load().trackers[tracker]
    btf = Btf.of_object((OBJECTS / f"{tracker}.bpf.o").read_bytes())
    return Conditions(found, btf).of_enforced(rule, Enforcement.DENY)


def excepting(*exceptions: str) -> agent_pb2.Rule:
    """Return a rule about opened files that passes some of them over."""
    each = [agent_pb2.RuleException(name="e", when=when) for when in exceptions]
    return agent_pb2.Rule(when='path == "/etc/shadow"', exceptions=each)


def denying(tracker: str, when: str, **rule: int) -> list[str]:
    """Return the columns on which the kernel decides what a rule denies."""
    return sorted(enforced(tracker, agent_pb2.Rule(when=when, **rule))[0])


def test_what_the_kernel_decides_by_itself_can_be_denied() -> None:
    where = 'kind == "open" && path == "/etc/shadow" && error == ""'
    assert denying("access", where) == ["error", "kind", "path"]


@pytest.mark.parametrize(
    ("tracker", "where", "count", "reason"),
    [
        ("syscall", "pid == 1", 1, "syscall: nothing of what it tells can be refused; let the"),
        ("access", "", 1, "access: no condition says what is to be denied"),
        ("access", 'kind == "open"', 2, "access: the kernel denies at the first event, and the"),
        (
            "access",
            'target.matches("a")',
            1,
            "access: the kernel denies only on what it can decide by",
        ),
    ],
)
def test_what_cannot_be_denied_says_why(tracker: str, where: str, count: int, reason: str) -> None:
    with pytest.raises(DenyNotInKernel) as told:
        denying(tracker, where, count=count)

    assert str(told.value).startswith(reason)


@pytest.mark.parametrize(
    ("exception", "excepted"),
    [
        ('labels["debug"] == "true"', ["true"]),
        ('labels["debug"] != "true"', ["no"]),
        ('!(labels["debug"] == "true")', ["no"]),
        ('!("debug" in labels)', ["none"]),
        ('labels["debug"] == "true" || pod == "none"', ["true", "none"]),
        ('labels["debug"] == "no" && pod == "no"', ["no"]),
    ],
)
def test_an_exception_without_an_answer_excepts_nobody(exception: str, excepted: str) -> None:
    pushed, whose = enforced("access", excepting('pod == "other"', exception))
    assert sorted(pushed) == ["path"]
    labels = {"true": {"debug": "true"}, "no": {"debug": "no"}, "none": {"app": "web"}}
    owners = [Owner(1, "container", pod=pod, labels=each) for pod, each in labels.items()]
    assert [each.pod for each in owners if not whose.is_meant(each)] == excepted


def test_an_exception_on_what_happens_is_the_kernel_s() -> None:
    pushed, whose = enforced("access", excepting("writing", 'pod == "other"'))
    assert sorted(pushed) == ["path", "writing"]
    assert [whose.is_meant(Owner(1, "container", pod=pod)) for pod in ("a", "other")] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("tracker", "exception"),
    [
        ("access", 'pod == "other" && writing'),  # of some containers alone
        ("access", 'pod == "other" || path == node'),
        ("execution", '!(args[2] == "x")'),  # some programs have none
    ],
)
def test_an_exception_that_the_kernel_cannot_tell_by_itself_is_quoted(
    tracker: str, exception: str
) -> None:
    with pytest.raises(DenyNotInKernel) as told:
        enforced(tracker, excepting('pod == "x"', exception))
    assert "by itself, and this it cannot: " in str(told.value)
    assert str(told.value).partition("cannot: ")[2].partition(";")[0] in exception


def test_a_disk_can_be_denied_by_whatever_name() -> None:
    rule = built_in().rules["container-escape/disk-opened"]
    assert denying("access", rule.when) == ["file_type", "kind"]


@pytest.mark.parametrize(
    "group", ["container-escape", "persistence", "sensitive-files", "tampering"]
)
def test_no_group_of_rules_has_all_opens_brought_out_of_the_kernel(group: str) -> None:
    access = Catalogue.load().trackers["access"]
    conditions = Conditions(access, Btf.of_object((OBJECTS / "access.bpf.o").read_bytes()))
    rules = [rule for rule in built_in().groups[group].rules if "access" in rule.events]
    asked = conditions.of_rules(rule_message(rule, rule.name) for rule in rules)["path"]
    assert isinstance(asked, PathsByClass)

    opens, creations = 1, 2
    classes = [class_of(kind, writing=w) for kind in (opens, creations) for w in (False, True)]
    assert not asked.free & sum(classes)
