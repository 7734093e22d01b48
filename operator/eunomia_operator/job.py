# SPDX-License-Identifier: Apache-2.0
"""One job as the operator follows it: what it wants, what nodes said, what its status says."""

import logging
from dataclasses import dataclass
from enum import Enum

from pydantic import ValidationError

from eunomia_api import agent_pb2
from eunomia_api.acceptance import NotAccepted, Spec, accept
from eunomia_api.tracejob import Phase, TraceJobStatus
from eunomia_api.tracker import Catalogue
from eunomia_operator import clock, status, tally
from eunomia_operator.ledger import Ledger, NodeReport
from eunomia_operator.plan import Placement, PlannedJob
from eunomia_operator.records import Slots
from eunomia_operator.world import JobObject

logger = logging.getLogger("eunomia.control")

LONGEST_REASON = 128
LONGEST_MESSAGE = 512
LARGEST_COUNT = 2**15 - 1
COUNTERS_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 30.0


class Heard(Enum):
    """What a node's report of a job meant."""

    COUNTED = 1
    """Counters went on."""
    MOVED = 2
    """The job is in another state there."""
    UNTRUE = 3
    """It cannot be, and was passed over."""


@dataclass(slots=True)
class Job:
    """One job. Times are Unix times in seconds."""

    object: JobObject
    verdict: Spec | NotAccepted
    status: TraceJobStatus
    """What the status should say."""
    written: TraceJobStatus
    """What it says, as far as is known."""
    ledger: Ledger
    nodes: frozenset[str] = frozenset()
    """Names of the nodes that it is meant for."""
    left_out: frozenset[str] = frozenset()
    """Names of those of them that have no place for it, and are not told of it."""
    dirty: bool = True
    writing: bool = False
    deleting: bool = False
    written_at: float = 0.0
    retry_at: float = 0.0
    refused_since: float | None = None
    """Since when every node refuses the job."""
    unclaimed_since: float | None = None
    """Since when no node is picked."""
    failures: int = 0
    """Writes that failed since the last one that did not."""

    @property
    def over(self) -> bool:
        """Whether the status will never change again."""
        return status.is_terminal(self.status)

    def planned(self) -> PlannedJob | None:
        """Return what nodes are to be told; None when there is nothing to tell."""
        if self.over or isinstance(self.verdict, NotAccepted):
            return None
        deadline = self.status.deadline
        return PlannedJob(
            uid=self.object.uid,
            kind=self.object.kind,
            namespace=self.object.namespace,
            name=self.object.name,
            generation=self.object.generation,
            spec=self.verdict,
            deadline=clock.read(deadline) if deadline else None,
            created=self.object.created,
        )

    def change(self, changed: JobObject, catalogue: Catalogue) -> None:
        """Take in an edit by a user."""
        self.object = changed
        self.verdict = _judged(changed, catalogue)
        self.ledger.begin_generation(changed.generation)
        self.dirty = True

    def assign(self, placement: Placement, gone: frozenset[str]) -> None:
        """Find the nodes that the job is meant for. gone: nodes whose object is no more."""
        before = self.nodes
        if self.over or isinstance(self.verdict, NotAccepted):
            self.nodes = frozenset()
        else:
            self.nodes = placement.nodes_of(self.verdict)
        for node in gone:
            self.ledger.retire(node)
        for node in before - self.nodes - gone:
            self.ledger.withdraw(node)
        self.dirty = self.dirty or self.nodes != before or bool(gone & before)

    def leave_out(self, nodes: frozenset[str]) -> bool:
        """Take note of the nodes that have no place for it; return whether they are others now."""
        changed = nodes != self.left_out
        for node in nodes - self.left_out:
            self.ledger.withdraw(node)
        self.left_out = nodes
        self.dirty = self.dirty or changed
        return changed

    def hear(self, node: str, report: agent_pb2.JobReport) -> Heard:
        """Take in what a node says."""
        counted = tally.from_report(report.totals)
        if counted is None or report.state not in agent_pb2.JobState.values():
            return Heard.UNTRUE
        moved = self.ledger.report(
            node,
            NodeReport(
                generation=report.generation,
                state=report.state,
                pods=min(report.pods, LARGEST_COUNT),
                gaps=min(report.gaps, LARGEST_COUNT),
                tally=counted,
                reason=report.reason[:LONGEST_REASON],
                message=report.message[:LONGEST_MESSAGE],
                degraded=report.degraded[:LONGEST_MESSAGE],
            ),
        )
        self.dirty = True
        return Heard.MOVED if moved else Heard.COUNTED

    def judge(self, now: float, led_since: float, unreachable: frozenset[str]) -> TraceJobStatus:
        """Bring the status up to date; return the one before."""
        before = self.status
        silent = sorted(self.nodes & unreachable)
        left_out = (self.left_out & self.nodes).difference(silent)
        self.ledger.settle(self.nodes - self.left_out)
        census = self.ledger.census(self.nodes, silent, left_out)
        self.refused_since = (self.refused_since or now) if census.refused else None
        self.unclaimed_since = None if self.nodes else (self.unclaimed_since or now)
        facts = status.Facts(
            now=now,
            led_since=led_since,
            generation=self.object.generation,
            verdict=self.verdict,
            census=census,
            pods=self.ledger.pods,
            gaps=self.ledger.gaps,
            events=self.ledger.events,
            retired=self.ledger.retired,
            failures=self.ledger.failures(silent, left_out),
            refused_since=self.refused_since,
            unclaimed_since=self.unclaimed_since,
        )
        self.status = status.judge(before, facts)
        self.dirty = False
        if self.over:
            self.nodes = self.left_out = frozenset()
            self.ledger = Ledger()
        return before

    def is_judgement_due(self, now: float) -> bool:
        """Tell whether the status may have to say something else by now."""
        if self.dirty or self.refused_since is not None:
            return not self.over
        settled = self.status.phase in (Phase.RUNNING, Phase.SUSPENDED, Phase.FAILED)
        deadline = self.status.deadline
        return not self.over and not (settled and (not deadline or now < clock.read(deadline)))

    def is_write_due(self, now: float) -> bool:
        """Tell whether the status is to be written now."""
        if self.writing or now < self.retry_at or self.status == self.written:
            return False
        urgent = status.is_urgent(self.written, self.status)
        return urgent or now >= self.written_at + COUNTERS_SECONDS

    def note_written(self, what: TraceJobStatus, now: float) -> None:
        """Take note that a status was written."""
        self.written = what
        self.written_at = now
        self.failures = 0

    def note_failure(self, now: float) -> None:
        """Take note that a write failed: wait longer each time."""
        self.failures += 1
        self.retry_at = now + min(LONGEST_BACKOFF_SECONDS, 2.0**self.failures / 2)

    def delete_at(self) -> float | None:
        """Return when the job is to be deleted, if it ever is."""
        spec = self.verdict
        if not self.over or isinstance(spec, NotAccepted) or not self.status.completion_time:
            return None
        if spec.ttl_seconds_after_finished is None:
            return None
        return clock.read(self.status.completion_time) + spec.ttl_seconds_after_finished


def begin(seen: JobObject, catalogue: Catalogue, slots: Slots) -> Job:
    """Return a job as it is first seen, with what an earlier leader made of it."""
    before = _status(seen)
    ledger = Ledger(tally.from_status(before.events), tally.from_status(before.retired), slots)
    ledger.begin_generation(seen.generation)
    return Job(
        object=seen,
        verdict=_judged(seen, catalogue),
        status=before,
        written=before,
        ledger=ledger,
    )


def _judged(job: JobObject, catalogue: Catalogue) -> Spec | NotAccepted:
    try:
        return accept(job.kind, job.spec, catalogue)
    except NotAccepted as refusal:
        return refusal
    except Exception:
        # Whatever a job holds, the others go on.
        logger.exception("job %s/%s could not be judged", job.namespace, job.name)
        return NotAccepted("InvalidSpec", "spec: it cannot be read; see the operator's log")


def _status(job: JobObject) -> TraceJobStatus:
    try:
        found = TraceJobStatus.model_validate(job.status or {})
        for moment in (found.start_time, found.deadline, found.completion_time):
            if moment is not None:
                clock.read(moment)
    except (ValidationError, ValueError) as error:
        logger.warning("the status of %s/%s cannot be read: %s", job.namespace, job.name, error)
        return TraceJobStatus()
    return found
