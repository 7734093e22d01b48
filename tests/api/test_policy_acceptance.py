# SPDX-License-Identifier: Apache-2.0
"""A rule that is wrong is named with its place, and the policy's other rules go on."""

from typing import Any

import pytest

from eunomia_api import policy_acceptance
from eunomia_api.acceptance import NotAccepted
from eunomia_api.library import Library, parse
from eunomia_api.policy_acceptance import Accepted, accept_policy
from eunomia_api.rule import Response
from eunomia_api.tracker import Catalogue, CatalogueColumn, CatalogueTracker

SECRETS = """\
group: secrets
help: Files that hold secrets.
rules:
  - name: shadow
    severity: alert
    events: [opensnoop]
    when: path == "/etc/shadow"
    exceptions: [{name: pam, when: pid == 1}]
    message: "{pid} in {container} read {path}"
  - name: many
    severity: alert
    events: [opensnoop]
    when: path.startsWith("/root/")
    count: 10
    within: 10s
    message: "{{many}} reads"
"""
LIBRARY = Library({"secrets": parse("secrets.yaml", SECRETS.encode())})
OWN = {
    "name": "own",
    "events": ["opensnoop"],
    "when": 'error == "EACCES" && image.startsWith("shop/")',
    "message": "{pid} may not read {path}",
}


def accept(catalogue: Catalogue, kind: str = "SecurityPolicy", **spec: Any) -> Accepted:
    return accept_policy(kind, {"target": {"podSelector": {}}, **spec}, catalogue, LIBRARY)


def own(catalogue: Catalogue, **changes: Any) -> Accepted:
    good = {**OWN, "name": "good"}
    return accept(catalogue, rules={"custom": [{**OWN, **changes}, good]})


def test_a_policy_of_groups_and_rules_of_its_own(catalogue: Catalogue) -> None:
    accepted = accept(
        catalogue,
        rules={"builtIn": ["secrets"], "exclude": ["secrets/many"], "custom": [OWN]},
    )
    assert [(each.name, each.built_in) for each in accepted.rules] == [
        ("secrets/shadow", True),
        ("own", False),
    ]
    assert accepted.problems == ()
    assert {each.rule.response for each in accepted.rules} == {Response.REPORT}
    assert accepted.spec.budget.events_per_second_per_node == 20_000


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"when": 'error == "EACCES" &&\n pth == "/etc"'},
            'when, on opensnoop: at line 2, character 2: no column "pth"; did you mean path?; there'
            " are pid, error, path, namespace, pod, pod_uid, container, container_id, image, node,"
            " kubernetes_api, labels",
        ),
        (
            {"exceptions": [{"name": "init", "when": 'pid == "1"'}]},
            "exceptions, init: when, on opensnoop: at character 5: == cannot compare an int with a"
            " string",
        ),
        (
            {"events": ["opens"]},
            'events: there is no tracker "opens"; there are: opensnoop, process',
        ),
        (
            {"events": ["opensnoop", "process"]},
            'when, on process: at character 1: no column "error"; there are namespace, pod, '
            "pod_uid, container, container_id, image, node, kubernetes_api, labels",
        ),
        (
            {"groupBy": ["pod", "dport"]},
            'groupBy: opensnoop has no column "dport"; there are pid, error, path, namespace, pod, '
            "pod_uid, container, container_id, image, node",
        ),
        (
            {"distinct": "dport", "count": 2, "within": "1s"},
            'distinct: opensnoop has no column "dport"; there are pid, error, path, namespace, pod,'
            " pod_uid, container, container_id, image, node",
        ),
        (
            {"message": "saw {pth}"},
            'message: at character 5: opensnoop has no column "pth"; there are pid, error, path, '
            "namespace, pod, pod_uid, container, container_id, image, node",
        ),
        ({"message": "100 {"}, "message: at character 5: { stands alone; write {{"),
        (
            {"message": "{pid!r}"},
            "message: at character 1: {pid!r} names no column; write {{ for a brace",
        ),
    ],
)
def test_a_rule_that_cannot_be_judged_is_a_problem_and_the_others_go_on(
    catalogue: Catalogue, changes: dict[str, Any], problem: str
) -> None:
    accepted = own(catalogue, **changes)
    assert [(each.rule, each.message) for each in accepted.problems] == [("own", problem)]
    assert [each.name for each in accepted.rules] == ["good"]


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"groupBy": ["time"]}, 'groupBy: "time" is a date, which differs in every row'),
        (
            {"distinct": "args", "count": 2, "within": "1s"},
            'distinct: "args" is a list, and rows are grouped by single values',
        ),
        ({"groupBy": ["nothing"]}, 'groupBy: wide has no column "nothing"; there are time, args, '),
    ],
)
def test_rows_are_grouped_by_columns_that_can_be_alike(
    catalogue: Catalogue, changes: dict[str, Any], start: str
) -> None:
    columns = [("time", "boot_ns_t", "string"), ("args", "args_t", "array")]
    columns += [(f"column_{number}", "u32", "integer") for number in range(100)]
    rows = [CatalogueColumn(name=name, type=of, json_type=json) for name, of, json in columns]
    wide = CatalogueTracker(name="wide", help="Many columns.", rows=rows)
    with_it = catalogue.model_copy(update={"trackers": [*catalogue.trackers, wide]})
    written = {**OWN, "events": ["wide"], "when": "column_1 == 1", "message": "!", **changes}
    (problem,) = accept(with_it, rules={"custom": [written]}).problems
    assert problem.message.startswith(start)


def test_what_is_not_in_the_library_is_a_problem_and_the_others_go_on(
    catalogue: Catalogue,
) -> None:
    rules = {
        "builtIn": ["secrets/shadow", "secrets/shadows"],
        "exclude": ["zzz"],
        "exceptions": [
            {"rule": "secrets/many", "name": "backup", "when": "pid == 1"},
            {"rule": "secrets/shadow", "name": "login", "when": 'container == "login"'},
        ],
    }
    accepted = accept(catalogue, rules=rules)
    assert [(each.rule, each.message) for each in accepted.problems] == [
        ("zzz", "rules.exclude: there is no rule or group 'zzz'; groups: secrets"),
        (
            "secrets/shadows",
            "rules.builtIn: there is no rule or group 'secrets/shadows'; did you mean"
            " secrets/shadow?",
        ),
        ("secrets/many", "rules.exceptions: backup is for a rule that the policy does not have"),
    ]
    (shadow,) = accepted.rules
    assert shadow.rule.when == 'path == "/etc/shadow"'
    excepted = [each.when for each in shadow.rule.exceptions]
    assert excepted == ["pid == 1", 'container == "login"']


def test_a_severitys_response_is_that_of_rules_that_say_nothing(catalogue: Catalogue) -> None:
    accepted = accept(
        catalogue,
        rules={
            "builtIn": ["secrets"],
            "custom": [OWN, {**OWN, "name": "mild", "severity": "alert", "response": "Report"}],
        },
        response={"alert": "Kill", "warning": "Isolate"},
    )
    assert [(each.name, each.rule.response) for each in accepted.rules] == [
        ("secrets/shadow", "Kill"),
        ("secrets/many", "Report"),
        ("own", "Isolate"),
        ("mild", "Report"),
    ]
    assert [(each.rule, each.message) for each in accepted.problems] == [
        (
            "secrets/many",
            "response Kill: the kernel judges single events, and cannot wait for count or for; it "
            "is reported alone",
        )
    ]


def test_what_goes_on_for_a_while_cannot_be_killed_for(catalogue: Catalogue) -> None:
    accepted = own(catalogue, response="Kill", **{"for": "30s"})
    assert [each.rule.response for each in accepted.rules] == ["Report", "Report"]
    (problem,) = accepted.problems
    assert problem.message.startswith("response Kill: the kernel judges single events")


@pytest.mark.parametrize("events", [["process"], ["opensnoop", "process"]])
def test_a_refusal_that_no_program_could_make_is_reported_alone(
    catalogue: Catalogue, events: list[str]
) -> None:
    accepted = own(
        catalogue, events=events, when='container == "web"', message="!", response="Deny"
    )
    assert [each.rule.response for each in accepted.rules] == ["Report", "Report"]
    (problem,) = accepted.problems
    assert problem.message == (
        "response Deny: process has no program that could refuse; trackers that have: opensnoop; "
        "it is reported alone"
    )
    accepted = own(catalogue, response="Deny")
    assert [each.rule.response for each in accepted.rules] == ["Deny", "Report"]
    assert accepted.problems == ()


def test_exceptions_may_be_longer_together_than_any_may_be(catalogue: Catalogue) -> None:
    long = [{"name": f"e{n}", "when": f'path == "{"x" * 200}{n}"'} for n in range(12)]
    accepted = own(catalogue, exceptions=long, response="Kill")
    assert accepted.problems == ()
    assert [each.rule.response for each in accepted.rules] == ["Kill", "Report"]


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        ({"target": {}}, "InvalidSelector", "spec.target.podSelector: is required"),
        (
            {"rules": {"custom": [{**OWN, "within": "10s"}]}},
            "InvalidRule",
            "spec.rules.custom[0]: within needs count (more than 1) or for",
        ),
        (
            {"rules": {"custom": [OWN, OWN]}},
            "InvalidRule",
            "spec.rules.custom: each rule may stand once; twice: own",
        ),
        (
            {"rules": {"custom": [{**OWN, "name": "call-refused"}]}},
            "InvalidRule",
            "spec.rules.custom: agents tell of this themselves, choose another name: call-refused",
        ),
        (
            {"response": {"whenDisconnected": "170h"}},
            "InvalidSpec",
            "spec.response.whenDisconnected: 170h is out of bounds: at least 0s, at most 168h",
        ),
        (
            {"seccomp": {"mode": "Learning"}},
            "InvalidSpec",
            "spec.seccomp.mode: Input should be 'Disabled', 'Learn', 'Audit' or 'Enforce'",
        ),
        ({"sekkomp": {}}, "InvalidSpec", "spec.sekkomp: there is no such field"),
    ],
)
def test_a_spec_that_is_none_is_refused_with_the_field(
    catalogue: Catalogue, spec: dict[str, Any], reason: str, message: str
) -> None:
    with pytest.raises(NotAccepted) as refused:
        accept(catalogue, **spec)
    assert (refused.value.reason, refused.value.message) == (reason, message)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The expressions that were parsed."""
    texts: list[str] = []
    parse = policy_acceptance.parse

    def noted(text: str, rows: Any) -> Any:
        texts.append(text)
        return parse(text, rows)

    monkeypatch.setattr(policy_acceptance, "parse", noted)
    return texts


@pytest.mark.parametrize(("events", "fit"), [(["opensnoop"], 2), (["opensnoop", "process"], 1)])
def test_a_policy_that_takes_long_to_read_is_cut_short_before_it_is_read(
    catalogue: Catalogue, parsed: list[str], events: list[str], fit: int
) -> None:
    when = "||".join(["pod=='1'"] * 68)
    exceptions = [{"name": f"e{each}", "when": when} for each in range(20)]
    long = {"when": when, "exceptions": exceptions, "events": events, "message": "!"}
    rules = [{**OWN, **long, "name": f"r{each}"} for each in range(32)]
    accepted = accept(catalogue, rules={"custom": [*rules[:31], OWN]})
    assert [each.name for each in accepted.rules] == [*(f"r{each}" for each in range(fit)), "own"]
    assert [each.rule for each in accepted.problems] == [f"r{each}" for each in range(fit, 31)]
    assert accepted.problems[0].message == (
        f"when and exceptions: {14_238 * len(events)} characters, counted once for each of"
        f" {len(events)} events, and the rules before leave 4292 of the 32768 that a policy may"
        " have in all: shorten them, or make two policies"
    )
    assert len(parsed) <= 3


def test_exceptions_to_built_in_rules_count_and_what_they_come_with_does_not(
    catalogue: Catalogue,
) -> None:
    when = "||".join(["pid==1"] * 85)
    added = [{"name": f"e{i}", "rule": "secrets/shadow", "when": when} for i in range(64)]
    accepted = accept(catalogue, rules={"builtIn": ["secrets"], "exceptions": added})
    assert [each.name for each in accepted.rules] == ["secrets/many"]
    (problem,) = accepted.problems
    assert problem.rule == "secrets/shadow"
    assert problem.message.startswith("when and exceptions: 43392 characters")


def test_an_expression_that_many_policies_have_is_read_once(
    catalogue: Catalogue, parsed: list[str]
) -> None:
    rule = {**OWN, "when": "pid == 123456", "exceptions": [{"name": "e", "when": "pth == 1"}]}
    first, second = (accept(catalogue, rules={"custom": [rule]}) for _ in range(2))
    assert first.problems == second.problems
    assert "no column" in first.problems[0].message
    assert sorted(parsed) == ["pid == 123456", "pth == 1"]


@pytest.mark.parametrize("response", ["Kill", "Deny", "Isolate"])
def test_only_pods_are_answered(catalogue: Catalogue, response: str) -> None:
    deadly = {**OWN, "when": "pid == 7", "response": response}
    written: dict[str, Any] = {"target": {"host": True}, "rules": {"custom": [deadly]}}
    accepted = accept_policy("ClusterSecurityPolicy", written, catalogue, LIBRARY)
    (problem,) = accepted.problems
    assert problem.message == (
        f"response {response}: it reaches pods alone, and spec.target has no podSelector; it is"
        " reported alone"
    )
    assert accepted.rules[0].rule.response == Response.REPORT
