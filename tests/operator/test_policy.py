# SPDX-License-Identifier: Apache-2.0
"""Policies in the control loop: objects and reports in, jobs of nodes and statuses out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from eunomia_api import agent_pb2, library
from eunomia_api.policy_acceptance import accept_policy
from eunomia_api.tracker import Catalogue
from eunomia_operator.planning.seats import SLOTS

RUNNING = agent_pb2.JOB_STATE_RUNNING
FAILED = agent_pb2.JOB_STATE_FAILED
WAITING = agent_pb2.JOB_STATE_WAITING
UNSUPPORTED = agent_pb2.JOB_STATE_UNSUPPORTED


def rule(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "events": ["opensnoop"],
        "when": 'path == "/etc/shadow"',
        "message": "{path} was opened",
        **changes,
    }


def condition(story: Any, name: str, type_: str) -> tuple[str, str, str]:
    told = story.status(name)["conditions"]
    found = next(each for each in told if each["type"] == type_)
    return found["status"], found["reason"], found["message"]


async def test_a_policy_is_a_job_that_judges_and_one_for_each_enforced_rule(story: Any) -> None:
    rules = [rule("shadow"), rule("deadly", response="Kill"), rule("secret", response="Deny")]
    story.policy("guard", rules=rules)
    await story.look()
    judges, kills, denies = story.jobs("node-a")
    assert (judges.uid, judges.kind, judges.enforcement) == ("uid-guard", "SecurityPolicy", 0)
    assert [each.name for each in judges.rules] == ["shadow", "deadly", "secret"]
    assert [each.name for each in judges.trackers] == ["opensnoop"]
    assert (kills.uid, kills.enforcement) == (
        "uid-guard/kill/deadly",
        agent_pb2.ENFORCEMENT_KILL,
    )
    assert (denies.uid, denies.enforcement) == (
        "uid-guard/deny/secret",
        agent_pb2.ENFORCEMENT_DENY,
    )
    for each in (kills, denies):
        assert [one.when for one in each.rules] == ['path == "/etc/shadow"']
        assert set(each.target.excluded_namespaces) == {"kube-system", "eunomia-system"}
    assert condition(story, "guard", "Accepted")[:2] == ("True", "Accepted")
    assert condition(story, "guard", "Ready")[:2] == ("False", "Starting")
    assert condition(story, "guard", "RulesValid") == ("True", "AllValid", "3 rules")

    story.tell("node-a", "guard", state=RUNNING, pods=3)
    await story.look(1)
    assert condition(story, "guard", "Ready")[:2] == ("False", "Starting")
    story.tell("node-b", "guard", state=WAITING, pods=0)
    await story.look(1)
    assert condition(story, "guard", "Ready") == ("True", "Guarding", "on 2 of 2 nodes")
    assert story.status("guard")["nodes"]["waiting"] == 1
    assert [reason for _, reason in story.news] == ["Accepted", "Ready"]


async def test_an_agent_that_knows_no_rules_guards_nothing(story: Any) -> None:
    story.policy("guard", rules=[rule("shadow")])
    await story.look()
    for node in ("node-a", "node-b"):
        story.tell(node, "guard", state=RUNNING, pods=2, policy=None)
    await story.look(1)
    assert condition(story, "guard", "Ready")[:2] == ("False", "NoNodeCanRun")
    assert story.status("guard")["nodes"]["unsupported"] == 2
    failure = story.status("guard")["failures"][0]
    assert (failure["node"], failure["reason"]) == ("node-a", "AgentTooOld")
    assert failure["message"].endswith("judges no rule: update it")
    story.tell("node-a", "guard", state=RUNNING, pods=2)
    await story.look(1)
    assert condition(story, "guard", "Ready")[2] == "on 1 of 2 nodes"


async def test_a_node_that_changes_its_mind_is_written_down_once_a_second(story: Any) -> None:
    story.policy("guard", rules=[rule("shadow")])
    await story.look()
    story.tell("node-b", "guard", state=RUNNING)
    await story.look(10)
    before = len(story.store.writes)
    for number in range(200):
        state = FAILED if number % 2 else RUNNING
        story.tell("node-a", "guard", state=state, reason="Flapping")
        await story.look(0.05)
    assert 8 <= len(story.store.writes) - before <= 14


async def test_a_dry_run_enforces_nothing(story: Any) -> None:
    rules = [rule("deadly", response="Kill"), rule("secret", response="Deny")]
    story.policy("guard", rules=rules, mode="DryRun")
    await story.look()
    (job,) = story.jobs("node-a")
    assert (job.dry_run, [each.name for each in job.rules]) == (True, ["deadly", "secret"])


async def test_a_dry_run_waits_for_no_word_of_who_would_enforce(story: Any) -> None:
    policy = {"rules": [rule("deadly", response="Kill")], "mode": "DryRun"}
    story.policy("guard", **policy)
    await story.look()
    for node in ("node-a", "node-b"):
        story.tell(node, "guard", state=RUNNING, policy=agent_pb2.PolicyReport(alerts=4))
    await story.look(6)
    assert story.status("guard")["alerts"]["alerts"] == 8

    story.lead()
    story.node("node-b", pool="db")  # the other one is gone
    story.policy("guard", **policy)
    await story.look(6)
    story.tell("node-b", "guard", state=RUNNING, policy=agent_pb2.PolicyReport(alerts=5))
    await story.look(6)
    assert story.status("guard")["retiredAlerts"]["alerts"] == 3
    story.tell("node-b", "guard", state=RUNNING, policy=agent_pb2.PolicyReport(alerts=6))
    await story.look(6)
    assert story.status("guard")["alerts"]["alerts"] == 9


async def test_a_rule_that_cannot_be_judged_is_named_and_the_others_go_on(story: Any) -> None:
    story.policy("guard", rules=[rule("bad", when='pth == "/x"'), rule("good")])
    await story.look()
    assert [each.name for each in story.jobs("node-a")[0].rules] == ["good"]
    status, reason, message = condition(story, "guard", "RulesValid")
    assert (status, reason) == ("False", "InvalidRules")
    assert 'at character 1: no column "pth"' in message
    assert ("guard", "InvalidRules") in story.news
    rules = story.status("guard")["rules"]
    assert (rules["total"], rules["custom"], rules["invalid"]) == (1, 1, 1)
    assert rules["problems"][0]["rule"] == "bad"


async def test_a_rule_that_a_node_cannot_judge_is_named_with_the_node(story: Any) -> None:
    story.policy("guard", rules=[rule("shadow")])
    await story.look()
    problems = [
        agent_pb2.RuleProblem(rule="shadow", message="no column path here\nfake line"),
        agent_pb2.RuleProblem(rule="invented", message="a rule that is none of the policy's"),
    ]
    for node in ("node-a", "node-b"):
        report = agent_pb2.PolicyReport(problems=problems)
        story.tell(node, "guard", state=RUNNING, policy=report)
    await story.look(1)
    assert condition(story, "guard", "RulesValid")[2].startswith(
        "shadow: node node-a: no column path here\\nfake line"
    )
    assert story.status("guard")["rules"]["invalid"] == 1
    for node in ("node-a", "node-b"):
        story.tell(node, "guard", state=RUNNING)
    await story.look(1)
    assert condition(story, "guard", "RulesValid")[0] == "True"


async def test_a_bad_spec_is_refused_and_judged_anew_when_it_is_edited(story: Any) -> None:
    story.policy("guard", rules=[rule("shadow", count=5)])
    story.job("opens")
    await story.look()
    assert story.names("node-a") == ["opens"]
    status, reason, message = condition(story, "guard", "Accepted")
    assert (status, reason) == ("False", "InvalidRule")
    assert message.startswith("spec.rules.custom[0]: count needs within")
    assert condition(story, "guard", "Ready")[1] == "NotAccepted"
    story.policy("guard", "MODIFIED", generation=2, rules=[rule("shadow")])
    await story.look(1)
    assert sorted(story.names("node-a")) == ["guard", "opens"]
    assert story.status("guard")["observedGeneration"] == 2


async def test_alerts_are_counted_over_nodes_that_go_and_leaders_that_change(story: Any) -> None:
    story.policy("guard", rules=[rule("deadly", response="Kill")])
    await story.look()

    def counts(node: str, alerts: int, killed: int) -> None:
        told = agent_pb2.PolicyReport(alerts=alerts, warnings=1, deduplicated=2)
        story.tell(node, "guard", state=RUNNING, policy=told)
        # What one of the two jobs has told of, the other has not.
        told = agent_pb2.PolicyReport(warnings=killed, killed=killed)
        story.tell(node, "guard", "/kill/deadly", state=RUNNING, policy=told)

    counts("node-a", 10, 3)
    counts("node-b", 5, 1)
    await story.look(6)
    alerts = story.status("guard")["alerts"]
    assert (alerts["alerts"], alerts["warnings"], alerts["killed"]) == (15, 6, 4)

    story.lead()
    story.node("node-b", pool="db")
    story.policy("guard", rules=[rule("deadly", response="Kill")])
    await story.look(6)
    assert story.status("guard")["alerts"]["alerts"] == 15
    counts("node-b", 7, 1)
    await story.look(6)
    status = story.status("guard")
    assert (status["alerts"]["alerts"], status["alerts"]["killed"]) == (15, 4)
    assert (status["retiredAlerts"]["alerts"], status["retiredAlerts"]["killed"]) == (8, 3)
    counts("node-b", 8, 2)
    await story.look(6)
    alerts = story.status("guard")["alerts"]
    assert (alerts["alerts"], alerts["killed"]) == (16, 5)


@pytest.mark.parametrize(
    ("response", "part", "count"),
    [("Kill", "/kill/deadly", "killed"), ("Deny", "/deny/deadly", "denied")],
)
async def test_a_rule_that_is_enforced_no_more_keeps_its_count_and_begins_anew(
    story: Any, response: str, part: str, count: str
) -> None:
    deadly, mild = [rule("deadly", response=response)], [rule("deadly")]
    story.policy("guard", rules=deadly)
    await story.look()
    ended = agent_pb2.PolicyReport(**{count: 3})
    story.tell("node-a", "guard", part, state=RUNNING, policy=ended)
    story.policy("guard", "MODIFIED", generation=2, rules=mild)
    await story.look(6)
    assert len(story.jobs("node-a")) == 1
    story.policy("guard", "MODIFIED", generation=3, rules=deadly)
    await story.look(6)
    begun = agent_pb2.PolicyReport(**{count: 1})
    story.tell("node-a", "guard", part, state=RUNNING, generation=3, policy=begun)
    await story.look(6)
    assert story.status("guard")["alerts"][count] == 4


@pytest.mark.parametrize(
    ("response", "part", "state", "reason", "lacking"),
    [
        ("Kill", "/kill/deadly", FAILED, "KillNotInKernel", "deadly kills nobody"),
        ("Deny", "/deny/deadly", UNSUPPORTED, "DenyUnsupported", "deadly refuses nothing"),
    ],
)
async def test_a_node_that_cannot_enforce_a_rule_reports_and_says_so(
    story: Any, response: str, part: str, state: int, reason: str, lacking: str
) -> None:
    story.policy("guard", rules=[rule("deadly", response=response)])
    await story.look()
    for node in ("node-a", "node-b"):
        story.tell(node, "guard", state=RUNNING)
    told = {"state": state, "reason": reason, "message": "path.contains"}
    story.tell("node-b", "guard", part, **told)
    await story.look(1)
    assert condition(story, "guard", "Ready")[0] == "True"
    assert condition(story, "guard", "Degraded")[:2] == ("True", "NodesInTrouble")
    status = story.status("guard")
    assert status["nodes"]["running"] == 2
    assert status["failures"] == [
        {
            "node": "node-b",
            "reason": "Degraded",
            "message": f"{lacking}: {reason}: path.contains",
        }
    ]
    story.tell("node-b", "guard", part, state=RUNNING)
    await story.look(1)
    assert condition(story, "guard", "Degraded")[0] == "False"


async def test_what_cannot_be_is_passed_over(story: Any) -> None:
    story.policy("guard", rules=[rule("shadow")])
    await story.look()
    story.tell("node-a", "guard", state=RUNNING, policy=agent_pb2.PolicyReport(alerts=1 << 63))
    story.tell("node-a", "guard", "/kill/none", policy=agent_pb2.PolicyReport(killed=5))
    await story.look(6)
    status = story.status("guard")
    assert (status["alerts"]["alerts"], status["alerts"]["killed"]) == (0, 0)


async def test_traces_cannot_push_a_policy_from_a_node(story: Any) -> None:
    for number in range(SLOTS):
        story.job(f"old-{number:02}")
    await story.look()
    story.policy("guard", rules=[rule("shadow"), rule("deadly", response="Kill")])
    await story.look(1)
    told = [job.uid for job in story.jobs("node-a")]
    assert len(told) == SLOTS
    assert {"uid-guard", "uid-guard/kill/deadly"} <= set(told)


async def test_a_policy_without_nodes_says_so(story: Any) -> None:
    story.policy("guard", rules=[rule("shadow")], nodeSelector={"pool": "none"})
    await story.look()
    assert condition(story, "guard", "Ready")[:2] == ("False", "NoMatchingNode")
    assert story.names("node-a") == []


def test_the_policy_that_the_page_shows_is_accepted() -> None:
    page = Path(__file__).parents[2] / "docs/policies.md"
    text = page.read_text().split("```yaml\n")[1].split("```")[0]
    written = yaml.safe_load(text)
    accepted = accept_policy(written["kind"], written["spec"], Catalogue.load(), library.built_in())
    assert accepted.problems == ()
    assert {"config-changed", "sensitive-files/password-hashes-read"} <= {
        each.name for each in accepted.rules
    }
