# SPDX-License-Identifier: Apache-2.0
"""What is worth a Kubernetes Event between two statuses. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from eunomia_api.policystatus import SecurityPolicyStatus
from eunomia_api.status import Condition
from eunomia_api.tracejob import Phase, TraceJobStatus
from eunomia_operator import conditions
from eunomia_operator.conditions import (
    ACCEPTED,
    COMPLETE,
    CONVERGED,
    DEGRADED,
    FAILED,
    NOT_ACCEPTED,
    PROFILE_READY,
    READY,
    RULES_VALID,
)

_Told = TraceJobStatus | SecurityPolicyStatus


@dataclass(frozen=True, slots=True)
class News:
    """One thing that happened to an object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    topic: str = ""
    """News of one topic are one Event, which tells the newest. Empty: those alike are."""


def news(before: TraceJobStatus, after: TraceJobStatus) -> list[News]:
    """Return what happened to a job between two of its statuses."""
    return [
        *_acceptance(before.conditions, after.conditions, f"trackers: {after.trackers}"),
        *_progress(before, after),
        *_troubles(before, after),
    ]


def policy_news(before: SecurityPolicyStatus, after: SecurityPolicyStatus) -> list[News]:
    """Return what happened to a policy between two of its statuses."""
    return [
        *_acceptance(before.conditions, after.conditions, f"{after.rules.total} rules"),
        *_guarding(before.conditions, after.conditions),
        *_profiles(before, after),
        *_troubles(before, after),
    ]


def _acceptance(
    before: Sequence[Condition], after: Sequence[Condition], what: str
) -> Iterator[News]:
    was, now = conditions.find(before, ACCEPTED), conditions.find(after, ACCEPTED)
    if now is None or (was is not None and (was.status, was.message) == (now.status, now.message)):
        return
    if now.status == "True":
        yield News("Normal", "Accepted", what)
    else:
        yield News("Warning", "NotAccepted", f"{now.reason}: {now.message}")


def _guarding(before: Sequence[Condition], after: Sequence[Condition]) -> Iterator[News]:
    ready = conditions.find(after, READY)
    if ready is not None and ready.status == "True" and not conditions.holds(before, READY):
        yield News("Normal", "Ready", ready.message)
    was, now = conditions.find(before, RULES_VALID), conditions.find(after, RULES_VALID)
    if now is not None and now.status == "False" and (was is None or was.message != now.message):
        yield News("Warning", now.reason, now.message)


def _profiles(before: SecurityPolicyStatus, after: SecurityPolicyStatus) -> Iterator[News]:
    for type_ in (CONVERGED, PROFILE_READY):
        now = conditions.find(after.conditions, type_)
        if now is None:
            continue
        if now.status == "True" and not conditions.holds(before.conditions, type_):
            yield News("Normal", type_, now.message, topic=f"{type_} {now.reason}")
        was = conditions.find(before.conditions, type_)
        if now.reason in ("NoSuchVersion", "BaseNotUsable", "NotEnforced") and (
            was is None or was.reason != now.reason
        ):
            yield News("Warning", now.reason, now.message)
    was_mode, mode = before.seccomp.mode, after.seccomp.mode
    if mode != was_mode and mode == "Enforce":
        yield News("Normal", "Enforced", "new pods are bound to their seccomp profiles")
    if after.seccomp.unprotected_pods > before.seccomp.unprotected_pods:
        told = conditions.find(after.conditions, DEGRADED)
        message = told.message if told else ""
        yield News("Warning", "UnprotectedPods", message, topic="UnprotectedPods")


def _progress(before: TraceJobStatus, after: TraceJobStatus) -> Iterator[News]:
    if before.phase == after.phase:
        return
    if before.phase == Phase.SUSPENDED and after.phase in (Phase.PENDING, Phase.RUNNING):
        yield News("Normal", "Resumed", "the clock of duration starts anew")
    match after.phase:
        case Phase.RUNNING:
            until = f" until {after.deadline}" if after.deadline else ""
            yield News("Normal", "Started", f"tracing began{until}")
        case Phase.SUSPENDED:
            yield News("Normal", "Suspended", "spec.suspend is true")
        case Phase.COMPLETE:
            complete = conditions.find(after.conditions, COMPLETE)
            events = after.events
            why = complete.message if complete else ""
            told = f"{events.matched} events, {events.delivered} delivered, {events.lost} lost"
            yield News("Normal", "Complete", f"{why}: {told}, {events.limited} limited")
        case Phase.FAILED:
            failed = conditions.find(after.conditions, FAILED)
            if failed is not None and failed.reason != NOT_ACCEPTED:
                yield News("Warning", "Failed", f"{failed.reason}: {failed.message}")
        case _:
            pass


def _troubles(before: _Told, after: _Told) -> Iterator[News]:
    known = {(failure.node, failure.reason) for failure in before.failures}
    for failure in after.failures:
        if (failure.node, failure.reason) in known:
            continue
        if failure.reason == "Unreachable":
            yield News("Warning", "NodeUnreachable", f"node {failure.node}: {failure.message}")
        else:
            what = "NodeDegraded" if failure.reason == "Degraded" else "NodeFailed"
            yield News("Warning", what, f"node {failure.node}: {failure.reason}: {failure.message}")
    if after.gaps > before.gaps:
        more = after.gaps - before.gaps
        yield News("Warning", "Gap", f"nodes saw nothing for a while, {more} times more")
