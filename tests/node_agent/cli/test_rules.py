# SPDX-License-Identifier: Apache-2.0
"""`eunomia rules`: what the library has, and what rules would have told of recorded rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eunomia_api.library import built_in

Command = Callable[..., Any]
RULES = """\
group: mine
help: Connections that are none of ours.
rules:
  - name: metadata
    severity: alert
    tags: [T1552.005]
    events: [tcp]
    when: kind == "connect" && daddr == "169.254.169.254"
    exceptions:
      - {name: agent, when: comm == "cloud-agent"}
    message: "{comm} ({pid}) asked {daddr}:{dport}"
    examples:
      fires: [{tracker: tcp, row: {comm: curl, kind: connect, daddr: 169.254.169.254}}]
      silent: [{tracker: tcp, row: {comm: cloud-agent, kind: connect, daddr: 169.254.169.254}}]
  - name: scan
    severity: warning
    events: [tcp]
    when: kind == "connect"
    distinct: dport
    count: 3
    within: 2s
    groupBy: [container_id, daddr]
    message: "{comm} tries the ports of {daddr}"
    examples:
      fires:
        - {tracker: tcp, row: {kind: connect, daddr: 10.0.0.1}, times: 3, every: 500ms, vary: dport}
      silent:
        - {tracker: tcp, row: {kind: connect, daddr: 10.0.0.1}, times: 9, every: 2s, vary: dport}
"""
POLICY = """\
apiVersion: eunomia.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: guard, namespace: shop}
spec:
  target: {podSelector: {}}
  rules:
    custom:
      - name: metadata
        events: [tcp]
        when: daddr == "169.254.169.254"
        message: "{comm} asked"
      - name: bad
        events: [tcp]
        when: dadr == "169.254.169.254"
        message: "{comm} asked"
"""


def row(second: float, **columns: Any) -> dict[str, Any]:
    whole, rest = divmod(round(second * 1e9), 10**9)
    return {
        "time": f"2026-05-04T10:20:{whole:02}.{rest:09}Z",
        "node": "n1",
        "namespace": "shop",
        "pod": "web-0",
        "container": "nginx",
        "container_id": "1b1b1b1b1b1b",
        "tracker": "tcp",
        "comm": "curl",
        "pid": 42,
        "kind": "connect",
        **columns,
    }


def written(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Rows in three files, one of them rotated; and what is no row of a tracker."""
    folder = tmp_path / "rows"
    folder.mkdir()
    scan = [row(number, daddr="10.0.0.9", dport=number, comm="nmap") for number in range(4)]
    written(folder / "web.jsonl.1", scan[:2])
    written(folder / "web.jsonl", scan[2:])
    other = {"container_id": "2c2c2c2c2c2c", "pod": "db-0", "container": "pg"}
    written(
        folder / "db.jsonl",
        [
            row(2.5, daddr="169.254.169.254", dport=80, **other),
            row(3.5, daddr="169.254.169.254", dport=80, comm="cloud-agent", **other),
            row(4, kind="exec", tracker="process"),
        ],
    )
    with (folder / "db.jsonl").open("a") as file:
        file.write('{"time": "2026-')  # a row that is being written
    written(folder / "alerts.jsonl", [row(5, rule="mine/scan", severity="alert")])
    return folder


def test_a_replay_says_what_would_have_been_told(ask: Command, rules: Path, events: Path) -> None:
    done = ask("rules", "test", str(rules), "--events", str(events))
    assert (done.code, done.err) == (0, "2 rules, 6 rows: 1 alert, 1 warning, 0 events\n")
    assert [line.split(maxsplit=4) for line in done.out.splitlines()] == [
        ["TIME", "SEVERITY", "RULE", "CONTAINER", "MESSAGE"],
        [
            *("2026-05-04T10:20:02Z", "warning", "mine/scan", "shop/web-0/nginx"),
            "nmap tries the ports of 10.0.0.9",
        ],
        [
            *("2026-05-04T10:20:02Z", "alert", "mine/metadata", "shop/db-0/pg"),
            "curl (42) asked 169.254.169.254:80",
        ],
    ]
    done = ask("rules", "test", str(rules), "--events", str(events), "--fmt", "json")
    _, told = [json.loads(line) for line in done.out.splitlines()]
    assert told["evidence"]["dport"] == 80
    assert (told["rule"], told["node"], told["pod"]) == ("mine/metadata", "n1", "db-0")
    assert (told["severity"], told["tags"], told["count"]) == ("alert", ["T1552.005"], 1)
    again = ask("rules", "test", str(rules), "--events", str(events), "--fmt", "json")
    assert again.out == done.out


def test_a_replay_is_told_where_the_api_server_was(
    ask: Command, tmp_path: Path, events: Path
) -> None:
    written(events / "api.jsonl", [row(1, daddr="10.213.8.1", dport=443)])
    rules = tmp_path / "api.yaml"
    rules.write_text(
        "group: api\nhelp: The API server.\nrules:\n  - {name: asked, events: [tcp],"
        " when: daddr == kubernetes_api, message: asked}\n"
    )
    asked = ("rules", "test", str(rules), "--events", str(events), "--fmt", "json")
    assert json.loads(ask(*asked, "--kubernetes-api", "10.213.8.1").out)["count"] == 1
    assert ask(*asked).out == ""


def test_an_example_may_say_which_labels_the_pod_has(ask: Command, tmp_path: Path) -> None:
    rules = tmp_path / "labels.yaml"
    rules.write_text(
        "group: mine\nhelp: Of the web.\nrules:\n"
        "  - name: written\n    events: [access]\n    message: m\n"
        "    when: writing && labels['app.kubernetes.io/name'] == 'web'\n"
        "    examples:\n"
        "      fires:\n"
        "      - {tracker: access, row: {writing: true, labels: {app.kubernetes.io/name: web}}}\n"
        "      silent:\n"
        "      - {tracker: access, row: {writing: true, labels: {app: web}}}\n"
        "      - {tracker: access, row: {writing: true}}\n"
    )
    done = ask("rules", "test", str(rules))
    assert (done.code, done.err) == (0, "1 rule, 3 examples\n")
    rules.write_text(rules.read_text().replace("{app: web}", "[app, web]"))
    done = ask("rules", "test", str(rules))
    assert done.code == 1
    problem = "written: labels: ['app', 'web'] is no object whose members are texts"
    assert done.err.splitlines()[0] == f"eunomia: {rules}:12: {problem}"


def test_the_examples_of_a_file_are_tried(ask: Command, rules: Path) -> None:
    done = ask("rules", "test", str(rules))
    assert (done.code, done.err) == (0, "2 rules, 4 examples\n")
    wrong = RULES.replace("count: 3", "count: 4").replace("comm: cloud-agent, kind", "kind")
    rules.write_text(wrong.replace("{kind: connect, daddr: 10.0.0.1}, times: 9", "{knd: 1}"))
    done = ask("rules", "test", str(rules))
    assert done.code == 1
    assert done.err.splitlines() == [
        f"eunomia: {rules}:14: metadata: is told of",
        f"eunomia: {rules}:26: scan: is not told of",
        f"eunomia: {rules}:28: scan: tcp has no column 'knd'",
        "2 rules, 4 examples",
    ]


def test_a_wrong_rule_is_told_with_its_line_and_the_others_go_on(
    ask: Command, rules: Path, events: Path
) -> None:
    rules.write_text(RULES.replace('daddr == "169.254.169.254"', 'dadr == "x"'))
    done = ask("rules", "test", str(rules), "--events", str(events))
    assert done.code == 1
    problem, last = done.err.splitlines()
    start = f"eunomia: {rules}:8: metadata: when: tcp: at character 22: "
    assert problem.startswith(f'{start}no column "dadr"; did you mean daddr')
    assert last == "1 rule, 6 rows: 0 alerts, 1 warning, 0 events"
    assert "nmap tries" in done.out


def test_a_policy_is_judged_as_the_operator_accepts_it(
    ask: Command, tmp_path: Path, events: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    done = ask("rules", "test", str(policy), "--events", str(events))
    assert done.code == 1
    problem, last = done.err.splitlines()
    assert problem.startswith(f"eunomia: {policy}:12: bad: when, on tcp: at character 1: ")
    assert last.startswith("1 rule, 6 rows: 0 alerts, 1 warning, 0 events, 1 of the same")
    assert done.out.splitlines()[1].endswith("shop/db-0/pg  curl asked")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("group: mine\n", ":1: help: is required; {path}:1: rules: is required"),
        ("- 1\n- [", ":2: expected the node content, but found '<stream end>'"),
        (RULES.replace("count: 3", "count: x"), ":20: rules[1].count: "),
        ("kind: Pod\n", ":1: must be SecurityPolicy or ClusterSecurityPolicy of eunomia.dev/"),
    ],
)
def test_a_file_that_holds_no_rules(
    ask: Command, rules: Path, events: Path, text: str, reason: str
) -> None:
    rules.write_text(text)
    done = ask("rules", "test", str(rules), "--events", str(events))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"eunomia: {rules}{reason.format(path=rules)}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no JSON object"),
        ('{"pid": 1}', 'needs "time" and "tracker"'),
        ('{"time": "now", "tracker": "tcp"}', "time: 'now' is no date such as"),
        (json.dumps(row(1, dport="80")), "dport: '80' is no integer"),
        (json.dumps(row(1, comm=["x"])), "comm: ['x'] is no string"),
        (json.dumps(row(1, dport=1 << 64)), "dport: 18446744073709551616 is no integer"),
        ("[" * 100_000, "is no JSON"),
        (json.dumps(row(1, comm="\ud800")), "holds half of a surrogate pair"),
    ],
)
def test_a_line_that_is_no_row_is_named(
    ask: Command, rules: Path, events: Path, line: str, reason: str
) -> None:
    bad = events / "web.jsonl"
    bad.write_text(f"{json.dumps(row(1))}\n{line}\n")
    done = ask("rules", "test", str(rules), "--events", str(events))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"eunomia: {bad}:2: {reason}")


def test_lists_and_shows_the_library(ask: Command) -> None:
    names = list(built_in().rules)
    assert len(names) >= 40
    told = [json.loads(line) for line in ask("rules", "list", "--fmt", "json").out.splitlines()]
    assert [each["name"] for each in told] == names
    head, *lines = ask("rules", "list").out.splitlines()
    assert head.split() == ["RULE", "SEVERITY", "EVENTS", "ENFORCED", "BY"]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == names
    rule = built_in().rules["container-escape/release-agent-written"]
    shown = ask("rules", "show", "container-escape/release-agent-written").out
    assert shown.startswith("container-escape/release-agent-written: alert\n")
    for text in (rule.description, rule.remedy, rule.when, rule.message):
        assert " ".join(text.split()) in " ".join(shown.split())
    told = json.loads(ask("rules", "show", names[-1], "--fmt", "json").out)
    assert told["description"] == built_in().rules[names[-1]].description
    done = ask("rules", "show", "container-escape/release-agent-writen")
    assert (done.code, done.out) == (2, "")
    assert "did you mean container-escape/release-agent-written" in done.err
    done = ask("rules", "show", "container-escape")
    assert done.err.startswith("eunomia: container-escape is a group: name one of container-esc")


def test_tells_how_the_kernel_can_enforce_a_rule_or_why_not(ask: Command) -> None:
    told = {
        each["name"]: each["enforcement"]
        for each in map(json.loads, ask("rules", "list", "--fmt", "json").out.splitlines())
    }
    assert told["container-escape/kernel-module-loaded"] == {"Kill": None, "Deny": None}
    assert told["system-calls/keyring-used"] == {
        "Kill": None,
        "Deny": "nothing of this can be refused that privileged tells",
    }
    assert told["network/port-scan"] == {
        "Kill": "tcp may tell of others than who is killed",
        "Deny": "broken by several events",
    }
    lines = {line.split()[0]: line for line in ask("rules", "list").out.splitlines()}
    assert " Kill, Deny " in lines["container-escape/kernel-module-loaded"]
    assert " privileged  Kill  " in lines["system-calls/keyring-used"]
    assert " tcp         -  " in lines["network/port-scan"]
    shown = " ".join(ask("rules", "show", "network/port-scan").out.split())
    assert shown.endswith(
        "enforced by not Kill: tcp may tell of others than who is killed; not Deny: broken by"
        " several events"
    )
    shown = ask("rules", "show", "network/port-scan", "--fmt", "json").out
    assert json.loads(shown)["enforcement"] == told["network/port-scan"]
