# SPDX-License-Identifier: Apache-2.0
"""One object as the operator follows it: where it is meant for, and what its status says."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from eunomia_api import agent_pb2
from eunomia_api.acceptance import NotAccepted
from eunomia_api.policystatus import SecurityPolicyStatus
from eunomia_api.status import Failure
from eunomia_api.tracejob import TraceJobStatus
from eunomia_operator.accounting.ledger import Census, Ledger, NodeReport
from eunomia_operator.accounting.records import Slots
from eunomia_operator.accounting.tally import from_report, from_status
from eunomia_operator.objects.world import Resource
from eunomia_operator.planning.plan import Placement, Planned
from eunomia_operator.status.news import News

logger = logging.getLogger("eunomia.control")

LONGEST_REASON = 128
LONGEST_MESSAGE = 512
LARGEST_COUNT = 2**15 - 1
COUNTERS_SECONDS = 5.0
URGENT_SECONDS = 1.0
URGENT_BURST = 3
"""So many urgent writes of one object may follow each other at once, then one in URGENT_SECONDS."""
LONGEST_BACKOFF_SECONDS = 30.0

S = TypeVar("S", TraceJobStatus, SecurityPolicyStatus)
V = TypeVar("V")


class Heard(Enum):
    """What a node's report meant."""

    COUNTED = 1
    """Counters went on."""
    MOVED = 2
    """The job is in another state there."""
    UNTRUE = 3
    """It cannot be, and was passed over."""


class Count(NamedTuple):
    """How the nodes of an object stand."""

    census: Census
    failures: tuple[Failure, ...]


class Followed(ABC, Generic[S]):
    """One object that nodes have a part in. Times are Unix times in seconds."""

    def __init__(self, resource: Resource, model: type[S], slots: Slots) -> None:
        """Begin with an object as it is first seen, and with what an earlier leader made of it.

        model: of its status.
        """
        self.object = resource
        self.status: S = _last_status(resource, model)
        """What the status should say."""
        self.written: S = self.status
        """What it says, as far as is known."""
        self.ledger = Ledger(
            from_status(self.status.events), from_status(self.status.retired), slots
        )
        self.ledger.begin_generation(resource.generation)
        self.nodes: frozenset[str] = frozenset()
        """Names of the nodes that it is meant for."""
        self.left_out: frozenset[str] = frozenset()
        """Names of those of them that have no place for it, and are not told of it."""
        self.dirty = True
        self.writing = False
        self.deleting = False
        self._counted_at = 0.0
        self._spent_until = 0.0
        self.retry_at = 0.0
        self.failures = 0
        """Writes that failed since the last one that did not."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether the status will never change again."""

    @abstractmethod
    def planned(self) -> Planned | None:
        """Return what nodes are to be told; None when there is nothing to tell."""

    @abstractmethod
    def node_selector(self) -> Mapping[str, str] | None:
        """Return the labels of the nodes that it is meant for; None when it is for none."""

    @abstractmethod
    def change(self, changed: Resource) -> None:
        """Take in an edit by a user."""

    @abstractmethod
    def hear(self, node: str, report: agent_pb2.JobReport) -> Heard:
        """Take in what a node says of one of its jobs."""

    @abstractmethod
    def judge(self, now: float, led_since: float, unreachable: frozenset[str]) -> list[News]:
        """Bring the status up to date; return what is worth telling."""

    @abstractmethod
    def is_judgement_due(self, now: float) -> bool:
        """Tell whether the status may have to say something else by now."""

    @abstractmethod
    def is_urgent(self) -> bool:
        """Tell whether the status may not wait for the next time that counters are written."""

    def delete_at(self) -> float | None:
        """Return when the object is to be deleted, if it ever is."""
        return None

    def assign(self, placement: Placement, gone: frozenset[str]) -> None:
        """Find the nodes that it is meant for. gone: nodes whose object is no more."""
        before = self.nodes
        selector = self.node_selector()
        self.nodes = frozenset() if selector is None else placement.nodes_of(selector)
        for node in gone:
            self.retire(node)
        for node in before - self.nodes - gone:
            self.withdraw(node)
        self.dirty = self.dirty or self.nodes != before or bool(gone & before)

    def leave_out(self, nodes: frozenset[str]) -> bool:
        """Take note of the nodes that have no place for it; return whether they are others now."""
        changed = nodes != self.left_out
        for node in nodes - self.left_out:
            self.withdraw(node)
        self.left_out = nodes
        self.dirty = self.dirty or changed
        return changed

    def withdraw(self, node: str) -> None:
        """A node that still exists has no part in it any more."""
        self.ledger.withdraw(node)

    def retire(self, node: str) -> None:
        """A node is gone."""
        self.ledger.retire(node)

    def count(self, unreachable: frozenset[str]) -> Count:
        """Count the nodes by what they said last."""
        silent = sorted(self.nodes & unreachable)
        left_out = (self.left_out & self.nodes).difference(silent)
        self.ledger.settle(self.nodes - self.left_out)
        return Count(
            self.ledger.census(self.nodes, silent, left_out),
            self.ledger.failures(silent, left_out),
        )

    def begin_write(self, now: float) -> S | None:
        """Return the status that is to be written now, if any; it is noted when that is over."""
        if self.writing or now < self.retry_at or self.status == self.written:
            return None
        # A node that changes its mind at every report must not load the API server for it.
        may = self._spent_until <= now + (URGENT_BURST - 1) * URGENT_SECONDS
        if may and self.is_urgent():
            self._spent_until = max(self._spent_until, now) + URGENT_SECONDS
        elif now >= self._counted_at + COUNTERS_SECONDS:
            self._counted_at = now
        else:
            return None
        self.writing = True
        return self.status

    def note_written(self, what: S) -> None:
        """Take note that a status was written."""
        self.written = what
        self.failures = 0

    def note_failure(self, now: float) -> None:
        """Take note that a write failed: wait longer each time."""
        self.failures += 1
        self._counted_at = 0.0
        self.retry_at = now + min(LONGEST_BACKOFF_SECONDS, 2.0**self.failures / 2)


def node_report(report: agent_pb2.JobReport) -> NodeReport | None:
    """Return what a node said of a job, bounded; None when it cannot be true."""
    counted = from_report(report.totals)
    if counted is None or report.state not in agent_pb2.JobState.values():
        return None
    return NodeReport(
        generation=report.generation,
        state=report.state,
        pods=min(report.pods, LARGEST_COUNT),
        gaps=min(report.gaps, LARGEST_COUNT),
        tally=counted,
        reason=report.reason[:LONGEST_REASON],
        message=report.message[:LONGEST_MESSAGE],
        degraded=report.degraded[:LONGEST_MESSAGE],
    )


def judged(seen: Resource, accept: Callable[[], V]) -> V | NotAccepted:
    """Return what an object's spec comes to, or why it is refused.

    Whatever an object holds, the others go on.
    """
    try:
        return accept()
    except NotAccepted as refusal:
        return refusal
    except Exception:
        logger.exception("%s %s/%s could not be judged", seen.kind, seen.namespace, seen.name)
        return NotAccepted("InvalidSpec", "spec: it cannot be read; see the operator's log")


def _last_status(seen: Resource, model: type[S]) -> S:
    """Return the status that an object has; an empty one where that cannot be read."""
    try:
        return model.model_validate(seen.status or {})
    except ValidationError as error:
        where = f"{seen.kind} {seen.namespace}/{seen.name}"
        logger.warning("the status of %s cannot be read: %s", where, error)
        return model()
