# SPDX-License-Identifier: Apache-2.0
"""What agents are told of a policy: what is watched, judged, learned, and who is never killed."""

from collections.abc import Sequence
from typing import Any

import pytest

from eunomia_api import agent_pb2
from eunomia_api.library import Library, parse
from eunomia_api.message import policy_messages, rule_message
from eunomia_api.policy_acceptance import accept_policy
from eunomia_api.rule import Rule
from eunomia_api.tracker import Catalogue

GROUP = """\
group: secrets
help: Files that hold secrets.
rules:
  - name: shadow
    severity: alert
    tags: [T1003.008]
    events: [opensnoop]
    when: path == "/etc/shadow"
    exceptions: [{name: pam, when: pid == 1}]
    message: "{pid} read {path}"
"""
LIBRARY = Library({"secrets": parse("secrets.yaml", GROUP.encode())})


def messages(
    catalogue: Catalogue,
    kind: str = "SecurityPolicy",
    events: Sequence[str] = ("opensnoop", "process"),
    **spec: Any,
) -> list[agent_pb2.Job]:
    own = {"name": "own", "events": [*events], "when": "true", "message": "!"}
    written = {
        "target": {"podSelector": {"matchLabels": {"app": "web"}}},
        "rules": {"builtIn": ["secrets"], "custom": [own]},
        **spec,
    }
    return policy_messages(
        accept_policy(kind, written, catalogue, LIBRARY),
        uid="u1",
        kind=kind,
        namespace="shop" if kind == "SecurityPolicy" else "",
        name="web",
        generation=3,
        namespaces=None,
        excluded_namespaces=["ingress"],
    )


def test_a_rule_travels_with_times_in_milliseconds_and_one_name() -> None:
    written = {
        "name": "burst",
        "events": ["tcp"],
        "when": "dport > 0",
        "count": 20,
        "within": "1m30s",
        "distinct": "dport",
        "groupBy": ["pod", "comm"],
        "message": "{comm}",
        "severity": "alert",
    }
    rule = Rule.model_validate(written)
    assert rule_message(rule) == agent_pb2.Rule(
        name="burst",
        severity=agent_pb2.SEVERITY_ALERT,
        trackers=["tcp"],
        when="dport > 0",
        count=20,
        within_ms=90_000,
        distinct="dport",
        group_by=["pod", "comm"],
        deduplicate_ms=60_000,
        message="{comm}",
        response="Report",
    )
    assert rule_message(rule, "scans/burst").name == "scans/burst"
    going = {**written, "count": 1, "within": None, "distinct": None, "for": "30s"}
    message = rule_message(Rule.model_validate(going))
    assert (message.for_ms, message.within_ms) == (30_000, 10_000)


def test_outputs_take_alerts_of_all_jobs_and_rows_of_the_one_where_that_is_asked_for(
    catalogue: Catalogue,
) -> None:
    output = [{"type": "log"}, {"type": "file", "rows": True}]
    observing, *enforcing = messages(catalogue, output=output, response={"alert": "Kill"})
    assert (list(observing.alert_outputs), list(observing.outputs)) == (["log", "file"], ["file"])
    assert enforcing
    assert all(
        (list(job.alert_outputs), list(job.outputs)) == (["log", "file"], []) for job in enforcing
    )


def test_a_policy_that_reports_is_one_job_of_all_its_trackers(catalogue: Catalogue) -> None:
    (job,) = messages(catalogue, seccomp={"mode": "Audit"}, response={"whenDisconnected": "1h"})
    assert (job.uid, job.kind, job.namespace, job.generation) == ("u1", "SecurityPolicy", "shop", 3)
    assert [(each.name, each.where, each.sample) for each in job.trackers] == [
        ("opensnoop", "", 1),
        ("process", "", 1),
    ]
    assert [(each.name, each.policy_rule) for each in job.rules] == [
        ("secrets/shadow", "secrets/shadow"),
        ("own", ""),
    ]
    assert job.rules[0].tags == ["T1003.008"]
    assert (job.enforcement, job.dry_run) == (agent_pb2.ENFORCEMENT_NONE, False)
    assert (job.respond_ms, list(job.outputs), list(job.alert_outputs)) == (3600_000, [], [])
    assert job.learning == agent_pb2.Learning(seccomp=True)
    assert job.target.pod_selector.match_labels == {"app": "web"}
    assert not job.target.excluded_namespaces
    assert job.budget.events_per_second == 20_000


def test_each_enforced_rule_is_one_more_job_that_spares_what_the_cluster_needs(
    catalogue: Catalogue,
) -> None:
    observing, killing, denying = messages(
        catalogue,
        "ClusterSecurityPolicy",
        target={"podSelector": {}, "host": True},
        events=["opensnoop"],
        response={"alert": "Kill", "warning": "Deny"},
    )
    assert [each.name for each in observing.rules] == ["secrets/shadow", "own"]
    assert (observing.enforcement, observing.target.host) == (agent_pb2.ENFORCEMENT_NONE, True)
    assert [(each.uid, each.enforcement) for each in (killing, denying)] == [
        ("u1/kill/secrets/shadow", agent_pb2.ENFORCEMENT_KILL),
        ("u1/deny/own", agent_pb2.ENFORCEMENT_DENY),
    ]
    assert [each.name for job in (killing, denying) for each in job.trackers] == ["opensnoop"] * 2
    (shadow,), (own,) = killing.rules, denying.rules
    assert (shadow.name, shadow.when) == ("secrets/shadow", 'path == "/etc/shadow"')
    assert [each.when for each in shadow.exceptions] == ["pid == 1"]
    assert (own.name, own.when) == ("own", "true")
    for job in (killing, denying):
        assert (job.target.host, job.target.all_namespaces) == (False, True)
        assert job.target.excluded_namespaces == ["eunomia-system", "ingress", "kube-system"]
        assert (job.generation, job.name, job.budget) == (3, "web", observing.budget)


@pytest.mark.parametrize("response", ["Kill", "Deny"])
def test_nothing_is_enforced_in_a_dry_run_nor_on_the_host_itself(
    catalogue: Catalogue, response: str
) -> None:
    (dry,) = messages(catalogue, mode="DryRun", response={"alert": response})
    assert (dry.dry_run, dry.rules[0].response) == (True, response)
    (host,) = messages(
        catalogue, "ClusterSecurityPolicy", target={"host": True}, response={"alert": response}
    )
    assert host.enforcement == agent_pb2.ENFORCEMENT_NONE
