# SPDX-License-Identifier: Apache-2.0
"""Policies on a node: the kernel's part, the guard's, what is told, and what is kept."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from eunomia_agent.state import JobTotals, Store
from eunomia_agent.trackers import ladder
from eunomia_agent.trackers.accounting import Totals
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]


def rule(name: str, when: str, **fields: Any) -> agent_pb2.Rule:
    return agent_pb2.Rule(
        name=name,
        severity=agent_pb2.SEVERITY_ALERT,
        trackers=["opensnoop"],
        when=when,
        message="{path}",
        **fields,
    )


MISSING = rule("missing", 'fd < 0 && error == "ENOENT"', deduplicate_ms=60_000)
SEVENS = rule("sevens", 'path.endsWith("7") && fd < 0')


def reported(world: Any, uid: str) -> agent_pb2.PolicyReport:
    world.tracing.tick()
    policy: agent_pb2.PolicyReport = world.tracing.tick().reports[uid].policy
    return policy


def test_the_kernel_takes_what_any_rule_may_be_about_and_the_guard_judges_each(
    guarded: Any, job: Callable[..., agent_pb2.Job], box: Any
) -> None:
    cgroup = guarded.cgroup("policy")
    guarded.tracing.meet(guarded.owner(cgroup))
    wrong = rule("wrong", 'pathh == "x"')
    guarded.apply(job("p", "/", rules=[MISSING, SEVENS, wrong]))
    guarded.opens(cgroup, "/none/a-", 10)

    totals = guarded.total("p")
    assert totals.matched == totals.delivered == len(guarded.rows("p"))
    assert {row["fd"] for row in guarded.rows("p")} == {-1}  # what was opened nobody asks for
    told = [(each.rule, each.message, each.pod) for each in box.alerts if "/none/" in each.message]
    assert ("sevens", "/none/a-7", f"pod-{cgroup.name}") in told
    assert {each.policy_uid for each in box.alerts} == {"p"}
    report = reported(guarded, "p")
    assert report.alerts == len(box.alerts)
    assert report.deduplicated > 0
    assert [(each.rule, "pathh" in each.message) for each in report.problems] == [("wrong", True)]


def test_a_policy_all_of_whose_rules_are_wrong_takes_nothing_and_says_why(
    guarded: Any, job: Callable[..., agent_pb2.Job]
) -> None:
    cgroup = guarded.cgroup("wrong")
    guarded.tracing.meet(guarded.owner(cgroup))
    guarded.apply(job("p", "/", rules=[rule("wrong", 'pathh == "x"')]))
    guarded.opens(cgroup, "/none/a-", 10)
    assert guarded.total("p") == Totals()
    standing = guarded.tracing.tick()
    assert standing.reports["p"].state == agent_pb2.JOB_STATE_RUNNING
    assert len(standing.reports["p"].policy.problems) == 1


def test_two_policies_with_the_same_rules_cost_one_probe(
    guarded: Any, job: Callable[..., agent_pb2.Job], box: Any
) -> None:
    cgroup = guarded.cgroup("two")
    guarded.tracing.meet(guarded.owner(cgroup))
    guarded.apply(*(job(uid, "/", rules=[SEVENS]) for uid in "pq"))
    guarded.opens(cgroup, "/none/a-", 10)
    assert len(guarded.tracing.tick().instances) == 1
    assert sorted(each.policy_uid for each in box.alerts) == ["p", "q"]


def test_counts_go_on_when_the_rules_change_the_job_rests_or_the_agent_starts_again(
    guarded: Any, job: Callable[..., agent_pb2.Job], tmp_path: Any
) -> None:
    cgroup = guarded.cgroup("kept")
    guarded.tracing.meet(guarded.owner(cgroup))
    last = agent_pb2.PolicyReport(alerts=3, killed=0)
    store = Store(tmp_path)
    store.save_totals({"p": JobTotals(policy=last.SerializeToString())})

    guarded.apply(job("p", "/none/", rules=[SEVENS]), before=store.load_totals())
    guarded.opens(cgroup, "/none/a-", 10)
    assert reported(guarded, "p").alerts == 4
    guarded.apply(job("p", "/none/", rules=[SEVENS], suspended=True))
    assert reported(guarded, "p").alerts == 4
    guarded.apply(job("p", "/none/", rules=[MISSING]))
    guarded.opens(cgroup, "/none/a-", 10)
    assert reported(guarded, "p").alerts == 5

    store.save_totals(guarded.end().totals)
    kept = agent_pb2.PolicyReport.FromString(store.load_totals()["p"].policy)
    assert kept.alerts == 5


def test_one_container_that_floods_a_policy_does_not_blind_it_to_the_others(
    guarded: Any, job: Callable[..., agent_pb2.Job], box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "COUNTS_ABOVE", 10)
    monkeypatch.setattr(ladder, "COUNTS_FACTOR", 0)
    monkeypatch.setattr(ladder, "PATIENCE_SECONDS", 0.0)
    loud, quiet = guarded.cgroup("loud"), guarded.cgroup("quiet")
    for cgroup in (loud, quiet):
        guarded.tracing.meet(guarded.owner(cgroup))
    guarded.apply(job("p", "/none/", rules=[SEVENS], rate=1000), job("t", "/none/", rate=1000))
    for _ in range(3):
        guarded.opens(loud, "/none/l-", 5000)
        guarded.tracing.tick()
    guarded.opens(quiet, "/none/q-", 10)
    guarded.tracing.tick()

    assert (f"pod-{quiet.name}", "/none/q-7") in [(each.pod, each.message) for each in box.alerts]
    reports = guarded.tracing.tick().reports
    assert "only counted" in reports["t"].degraded
    assert reports["p"].degraded == ""
    limited = guarded.total("p").limited
    assert limited > 10_000


def test_who_is_killed_is_told_of_once_by_the_job_that_kills(
    guarded: Any, job: Callable[..., agent_pb2.Job], box: Any
) -> None:
    cgroup = guarded.cgroup("killed")
    guarded.tracing.meet(guarded.owner(cgroup))
    killer = job(
        "p/kill/missing",
        "/none/",
        rules=[MISSING],
        enforcement=agent_pb2.ENFORCEMENT_KILL,
        respond_ms=1000,
    )
    guarded.apply(job("p", "/none/", rules=[MISSING]), killer)
    with pytest.raises(Exception, match="SIGKILL"):
        guarded.opens(cgroup, "/none/a-", 10)

    report = reported(guarded, "p/kill/missing")
    assert (report.killed, report.alerts) == (1, 1)
    assert reported(guarded, "p").alerts == 0
    assert [(each.policy_uid, each.response) for each in box.alerts] == [("p", "Killed")]

    guarded.tracing.silent_for(2)
    guarded.opens(cgroup, "/none/b-", 1)
    assert reported(guarded, "p/kill/missing").killed == 1
