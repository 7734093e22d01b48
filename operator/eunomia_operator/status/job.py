# SPDX-License-Identifier: Apache-2.0
"""What a job's status should say, from the last one, the job and what its nodes report. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eunomia_api import duration
from eunomia_api.acceptance import NotAccepted, Spec
from eunomia_api.status import Condition, Failure, NodeCounts
from eunomia_api.tracejob import Phase, TraceJobStatus
from eunomia_operator import clock, conditions
from eunomia_operator.accounting.ledger import Census
from eunomia_operator.accounting.tally import NOTHING, Tally
from eunomia_operator.conditions import (
    ACCEPTED,
    COMPLETE,
    DEGRADED,
    FAILED,
    NOT_ACCEPTED,
    RUNNING,
    Conditions,
)
from eunomia_operator.planning import seats

NO_NODE_SECONDS = 60.0
"""For so long may a job wait for a node that its nodeSelector picks."""
REFUSED_SECONDS = 60.0
"""For so long may every node fail to run a job, for causes that may pass: agents try again."""
LAST_REPORTS_SECONDS = 10.0
"""For so long after the deadline may nodes send their last totals."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a job now. Times are Unix times in seconds."""

    now: float
    led_since: float
    """Since when this operator leads: what nodes said before, it has not heard."""
    generation: int
    verdict: Spec | NotAccepted
    census: Census
    pods: int = 0
    gaps: int = 0
    events: Tally = NOTHING
    retired: Tally = NOTHING
    failures: tuple[Failure, ...] = ()
    refused_since: float | None = None
    """Since when every node refuses the job; None: not every one does."""
    unclaimed_since: float | None = None
    """Since when no node is picked; None: some are."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job is over."""

    type: str
    reason: str
    message: str


def is_terminal(status: TraceJobStatus) -> bool:
    """Tell whether a job is over for good: its status never changes again."""
    failed = conditions.find(status.conditions, FAILED)
    return conditions.holds(status.conditions, COMPLETE) or (
        failed is not None and failed.status == "True" and failed.reason != NOT_ACCEPTED
    )


def judge(before: TraceJobStatus, facts: Facts) -> TraceJobStatus:
    """Return the status that a job should have now."""
    if is_terminal(before):
        return before
    if isinstance(facts.verdict, NotAccepted):
        return _refused(before, facts, facts.verdict)
    said = Conditions(before.conditions, facts.generation, facts.now)
    said.put(ACCEPTED, True, "Accepted", "the job can be run as it is written")
    if FAILED in said:
        said.put(FAILED, False, "Accepted")
    status = _counted(before, facts, facts.verdict)
    if facts.verdict.suspend:
        return _suspended(status, facts, said)
    status = _clocked(status, facts, facts.verdict)
    ending = _ending(status, facts)
    if ending is not None:
        return _ended(status, before, facts, said, ending)
    return _going_on(status, facts, said)


def _refused(before: TraceJobStatus, facts: Facts, refusal: NotAccepted) -> TraceJobStatus:
    said = Conditions(before.conditions, facts.generation, facts.now)
    said.put(ACCEPTED, False, refusal.reason, refusal.message)
    said.put(RUNNING, False, NOT_ACCEPTED)
    said.put(FAILED, True, NOT_ACCEPTED, refusal.message)
    return before.model_copy(
        update={
            "phase": Phase.FAILED,
            "conditions": said.listed(),
            "observed_generation": facts.generation,
            "start_time": None,
            "deadline": None,
            "nodes": NodeCounts(),
            "failures": [],
        }
    )


def _counted(before: TraceJobStatus, facts: Facts, spec: Spec) -> TraceJobStatus:
    return before.model_copy(
        update={
            "observed_generation": facts.generation,
            "trackers": ",".join(use.name for use in spec.trackers),
            "nodes": node_counts(facts.census),
            "pods": facts.pods,
            "events": facts.events.to_status(),
            "retired": facts.retired.to_status(),
            "completeness_percent": facts.events.completeness_percent,
            "gaps": max(before.gaps, facts.gaps),
            "failures": list(facts.failures),
        }
    )


def _suspended(status: TraceJobStatus, facts: Facts, said: Conditions) -> TraceJobStatus:
    said.put(RUNNING, False, "Suspended", "spec.suspend is true")
    put_degraded(said, facts.census, facts.failures)
    return status.model_copy(
        update={
            "phase": Phase.SUSPENDED,
            "conditions": said.listed(),
            "start_time": None,
            "deadline": None,
        }
    )


def _clocked(status: TraceJobStatus, facts: Facts, spec: Spec) -> TraceJobStatus:
    """Start the clock: at the first acceptance, and when the job is resumed."""
    if status.start_time is not None:
        return status
    deadline = None
    if spec.duration is not None:
        deadline = clock.written(math.ceil(facts.now + duration.seconds(spec.duration)))
    return status.model_copy(
        update={
            "phase": Phase.PENDING,
            "start_time": clock.written(facts.now),
            "deadline": deadline,
        }
    )


def _ending(status: TraceJobStatus, facts: Facts) -> Ending | None:
    census = facts.census
    if census.refused:
        held = facts.now - (facts.now if facts.refused_since is None else facts.refused_since)
        if census.unsupported == census.desired or held >= REFUSED_SECONDS:
            return _no_node_can(facts)
    unclaimed = facts.unclaimed_since is not None and status.phase == Phase.PENDING
    if unclaimed and facts.now >= (facts.unclaimed_since or 0.0) + NO_NODE_SECONDS:
        return _no_node_matches()
    if status.deadline is None or facts.now < clock.read(status.deadline):
        return None
    over = census.finished + census.failed + census.unsupported
    if over + census.unreachable < census.desired:
        patience_from = max(clock.read(status.deadline), facts.led_since)
        if facts.now < patience_from + LAST_REPORTS_SECONDS:
            return None
    return _at_deadline(status, facts)


def _at_deadline(status: TraceJobStatus, facts: Facts) -> Ending:
    census = facts.census
    watched = census.finished + census.running + census.waiting
    if watched or status.phase == Phase.RUNNING or facts.events != NOTHING:
        return Ending(COMPLETE, "DeadlineReached", "the job ran for its duration")
    if census.desired == 0:
        return _no_node_matches()
    if census.failed + census.unsupported:
        return _no_node_can(facts)
    return Ending(FAILED, "NoAgentAnswered", "no agent of the job's nodes took it up in time")


def _no_node_matches() -> Ending:
    return Ending(FAILED, "NoMatchingNode", "no node has the labels of spec.target.nodeSelector")


def _no_node_can(facts: Facts) -> Ending:
    worst = facts.failures[0] if facts.failures else None
    why = f"; {worst.node}: {worst.reason}: {worst.message}" if worst else ""
    return Ending(FAILED, "NoNodeCanRun", f"none of {facts.census.desired} nodes can run it{why}")


def _ended(
    status: TraceJobStatus,
    before: TraceJobStatus,
    facts: Facts,
    said: Conditions,
    ending: Ending,
) -> TraceJobStatus:
    put_degraded(said, facts.census, facts.failures)
    said.put(RUNNING, False, ending.reason)
    said.put(ending.type, True, ending.reason, ending.message)
    complete = ending.type == COMPLETE
    nodes = status.nodes.model_copy(update={"running": 0, "waiting": 0, "unreachable": 0})
    return status.model_copy(
        update={
            "phase": Phase.COMPLETE if complete else Phase.FAILED,
            "conditions": said.listed(),
            "completion_time": clock.written(facts.now),
            "nodes": NodeCounts(desired=nodes.desired) if complete else nodes,
            "pods": status.pods or before.pods,
        }
    )


def _going_on(status: TraceJobStatus, facts: Facts, said: Conditions) -> TraceJobStatus:
    census = facts.census
    running = census.running > 0 or status.phase == Phase.RUNNING
    if running:
        said.put(RUNNING, True, "Tracing", f"on {census.running} of {census.desired} nodes")
    elif census.waiting:
        said.put(RUNNING, False, "NoPodMatches", "nodes are ready; no pod matches yet")
    elif census.left_out:
        said.put(
            RUNNING,
            False,
            seats.REASON,
            f"{census.left_out} of {census.desired} nodes: {seats.MESSAGE}",
        )
    elif census.desired == 0:
        said.put(RUNNING, False, "NoMatchingNode", "no node matches spec.target.nodeSelector yet")
    else:
        said.put(RUNNING, False, "Starting", "nodes have yet to take up the job")
    put_degraded(said, facts.census, facts.failures)
    return status.model_copy(
        update={
            "phase": Phase.RUNNING if running else Phase.PENDING,
            "conditions": said.listed(),
        }
    )


def node_counts(census: Census) -> NodeCounts:
    """Return nodes by state as a status shows them."""
    return NodeCounts(
        desired=census.desired,
        running=census.running,
        waiting=census.waiting,
        failed=census.failed,
        unsupported=census.unsupported,
        unreachable=census.unreachable,
    )


def put_degraded(
    said: Conditions, census: Census, failures: Sequence[Failure], unprotected: str = ""
) -> None:
    """Set the condition that tells of nodes in trouble, with how many and the worst.

    unprotected: what to say of pods that run without their profile; empty when none does.
    """
    counts = {
        "failed": census.failed,
        "unsupported": census.unsupported,
        "unreachable": census.unreachable,
        "degraded": census.degraded,
    }
    wrong = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    if not wrong:
        reason = "UnprotectedPods" if unprotected else "AsExpected"
        said.put(DEGRADED, bool(unprotected), reason, unprotected)
        return
    message = f"of {census.desired} nodes: {wrong}"
    if failures:
        worst = failures[0]
        message += f"; {worst.node}: {worst.reason}: {worst.message}"
    if unprotected:
        message += f"; {unprotected}"
    said.put(DEGRADED, True, "NodesInTrouble", message)


def is_urgent(before: TraceJobStatus, after: TraceJobStatus) -> bool:
    """Tell whether a change may not wait for the next time that counters are written."""

    def essence(status: TraceJobStatus) -> tuple[object, ...]:
        return (
            status.phase,
            status.observed_generation,
            status.start_time,
            essence_of(status.conditions),
        )

    return essence(before) != essence(after)


def essence_of(conditions: Sequence[Condition]) -> list[tuple[str, str, str]]:
    """Return what of conditions may not wait: all but words and times."""
    return [(each.type, each.status, each.reason) for each in conditions]
