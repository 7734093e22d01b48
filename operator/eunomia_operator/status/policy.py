# SPDX-License-Identifier: Apache-2.0
"""What a policy's status should say, from the last one, the policy and its nodes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from eunomia_api.acceptance import NotAccepted
from eunomia_api.policy_acceptance import Accepted
from eunomia_api.policystatus import (
    MAX_PROBLEMS,
    CapabilitiesStatus,
    LastAlert,
    RuleCounts,
    RuleProblem,
    SecurityPolicyStatus,
)
from eunomia_api.status import Failure, NodeCounts
from eunomia_operator.accounting.alerttally import NO_ALERTS, AlertTally
from eunomia_operator.accounting.ledger import Census
from eunomia_operator.accounting.tally import NOTHING, Tally
from eunomia_operator.conditions import (
    ACCEPTED,
    CONVERGED,
    NOT_ACCEPTED,
    PROFILE_READY,
    READY,
    RULES_VALID,
    Conditions,
)
from eunomia_operator.learned.seccomp import DISABLED, NO_OUTCOME, Outcome, unprotected
from eunomia_operator.planning import seats
from eunomia_operator.status.job import essence_of, node_counts, put_degraded

NO_CAPABILITIES = CapabilitiesStatus()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a policy now. now: Unix time in seconds."""

    now: float
    generation: int
    verdict: Accepted | NotAccepted
    census: Census
    pods: int = 0
    gaps: int = 0
    events: Tally = NOTHING
    retired: Tally = NOTHING
    alerts: AlertTally = NO_ALERTS
    retired_alerts: AlertTally = NO_ALERTS
    isolated: int = 0
    """Pods that were cut off the network."""
    last_alert: LastAlert | None = None
    problems: tuple[RuleProblem, ...] = ()
    """Rules that some nodes cannot judge."""
    failures: tuple[Failure, ...] = ()
    seccomp: Outcome = NO_OUTCOME
    capabilities: CapabilitiesStatus = NO_CAPABILITIES


def judge(before: SecurityPolicyStatus, facts: Facts) -> SecurityPolicyStatus:
    """Return the status that a policy should have now."""
    said = Conditions(before.conditions, facts.generation, facts.now)
    status = _counted(before, facts)
    if isinstance(facts.verdict, NotAccepted):
        said.put(ACCEPTED, False, facts.verdict.reason, facts.verdict.message)
        said.put(READY, False, NOT_ACCEPTED)
        update = {"conditions": said.listed(), "nodes": NodeCounts(), "failures": [], "pods": 0}
        return status.model_copy(update=update)
    said.put(ACCEPTED, True, "Accepted", "the policy can be run as it is written")
    _put_ready(said, facts.census)
    rules = _rules(facts.verdict, facts.problems)
    _put_rules_valid(said, rules)
    _put_seccomp(said, facts.seccomp)
    bare = facts.seccomp.status.unprotected_pods
    why = unprotected(facts.seccomp.status) if bare else ""
    put_degraded(said, facts.census, facts.failures, why)
    return status.model_copy(
        update={
            "conditions": said.listed(),
            "nodes": node_counts(facts.census),
            "rules": rules,
            "failures": list(facts.failures),
            "seccomp": facts.seccomp.status,
            "capabilities": facts.capabilities,
        }
    )


def is_urgent(before: SecurityPolicyStatus, after: SecurityPolicyStatus) -> bool:
    """Tell whether a change may not wait for the next time that counters are written."""
    return before.observed_generation != after.observed_generation or (
        essence_of(before.conditions) != essence_of(after.conditions)
    )


def _counted(before: SecurityPolicyStatus, facts: Facts) -> SecurityPolicyStatus:
    return before.model_copy(
        update={
            "observed_generation": facts.generation,
            "pods": facts.pods,
            "events": facts.events.to_status(),
            "retired": facts.retired.to_status(),
            "completeness_percent": facts.events.completeness_percent,
            "alerts": facts.alerts.to_status(facts.isolated),
            "retired_alerts": facts.retired_alerts.to_status(),
            "last_alert": facts.last_alert,
            "gaps": max(before.gaps, facts.gaps),
        }
    )


def _put_ready(said: Conditions, census: Census) -> None:
    """Say whether it is in force on every node that can take it up and that an agent speaks for."""
    at_work = census.running + census.waiting
    where = f"on {at_work} of {census.desired} nodes"
    refused = census.failed - census.left_out + census.unsupported
    if census.desired == 0:
        said.put(READY, False, "NoMatchingNode", "no node matches spec.target.nodeSelector")
    elif census.desired > census.answered + census.unreachable + census.left_out:
        said.put(READY, False, "Starting", f"{where}; others have yet to take it up")
    elif census.running:
        said.put(READY, True, "Guarding", where)
    elif at_work:
        said.put(READY, True, "NoPodMatches", f"{where}; no pod matches yet")
    elif census.left_out:
        message = f"{census.left_out} of {census.desired} nodes: {seats.MESSAGE}"
        said.put(READY, False, seats.REASON, message)
    elif refused:
        said.put(READY, False, "NoNodeCanRun", f"none of {census.desired} nodes can run it")
    else:
        said.put(READY, False, "Unreachable", "no agent of its nodes is connected")


def _put_seccomp(said: Conditions, outcome: Outcome) -> None:
    for type_, word in ((CONVERGED, outcome.converged), (PROFILE_READY, outcome.ready)):
        # Of a policy that never learned there is nothing to say.
        if word is not None and (word is not DISABLED or type_ in said):
            said.put(type_, word.status, word.reason, word.message)


def _rules(accepted: Accepted, on_nodes: Sequence[RuleProblem]) -> RuleCounts:
    problems = [*accepted.problems, *on_nodes]
    built_in = sum(each.built_in for each in accepted.rules)
    return RuleCounts(
        total=len(accepted.rules),
        built_in=built_in,
        custom=len(accepted.rules) - built_in,
        invalid=len({each.rule for each in problems}),
        problems=problems[:MAX_PROBLEMS],
    )


def _put_rules_valid(said: Conditions, rules: RuleCounts) -> None:
    if not rules.invalid:
        said.put(RULES_VALID, True, "AllValid", f"{rules.total} rules")
        return
    first = rules.problems[0]
    others = f"; and {rules.invalid - 1} more" if rules.invalid > 1 else ""
    message = f"{first.rule}: {first.message}{others}; the other rules go on"
    said.put(RULES_VALID, False, "InvalidRules", message)
