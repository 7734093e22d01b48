# SPDX-License-Identifier: Apache-2.0
"""What the nodes said of one job, added up as it comes in. Pure.

The figure of a job is `retired` + the latest totals of each node that exists. It never goes down
and counts nothing twice, over deletions of nodes and changes of leader:

- Nothing but `events` and `retired` outlives a leader; both are written in one piece. A new leader
  knows of no node until it reports, so what it publishes is the larger one, field by field, of what
  was published before and of its own sum. Each of the two is at most the truth, so that is too.
- When every node that the job is meant for has reported, what was published above the new sum can
  only come from nodes that are gone: it is added to `retired`, once.
"""

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from eunomia_api import agent_pb2
from eunomia_api.tracejob import MAX_FAILURES, Failure
from eunomia_operator import seats
from eunomia_operator.records import Record, Records, Slots
from eunomia_operator.tally import NOTHING, Tally

_NONE = Record(agent_pb2.JOB_STATE_UNSPECIFIED, 0, 0, NOTHING)
_STATES = len(agent_pb2.JobState.values())
_TROUBLED = {
    agent_pb2.JOB_STATE_FAILED: 0,
    agent_pb2.JOB_STATE_UNSUPPORTED: 1,
}
_UNREACHABLE = 2
_LEFT_OUT = 3
_DEGRADED = 4


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The latest that a node said of a job."""

    generation: int
    state: agent_pb2.JobState
    pods: int = 0
    gaps: int = 0
    tally: Tally = NOTHING
    reason: str = ""
    message: str = ""
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class Census:
    """How many of the nodes that a job is meant for are in which state."""

    desired: int = 0
    answered: int = 0
    """Reported on the present generation of the job, and reachable."""
    running: int = 0
    waiting: int = 0
    suspended: int = 0
    finished: int = 0
    failed: int = 0
    unsupported: int = 0
    unreachable: int = 0
    degraded: int = 0
    """Run, but something is wrong."""
    left_out: int = 0
    """Have no place for it; counted as failed, too."""

    @property
    def refused(self) -> bool:
        """Whether every node has answered, and none can run it."""
        return 0 < self.desired == self.answered == self.failed + self.unsupported


class Ledger:
    """The reports of one job."""

    def __init__(
        self, published: Tally = NOTHING, retired: Tally = NOTHING, slots: Slots | None = None
    ) -> None:
        """Begin from a status: its `events` and `retired`.

        slots: where many ledgers are kept, those of all.
        """
        self.retired = retired
        """What came from nodes that are gone."""
        self.generation = 0
        """The job's generation; what nodes say of an older one tells only of totals."""
        self._published = published
        self._settled = published == retired
        self._records = Records(slots or Slots())
        self._ended: set[str] = set()
        self._troubles: dict[str, tuple[int, str, str]] = {}
        self._states = [0] * _STATES
        self._sum = NOTHING
        self._pods = 0
        self._gaps = 0

    @property
    def events(self) -> Tally:
        """The job's figure, which never goes down."""
        self._published = self._published.at_least(self.retired + self._sum)
        return self._published

    @property
    def pods(self) -> int:
        """Pods that the job covers, on all nodes."""
        return self._pods

    @property
    def gaps(self) -> int:
        """Gaps on the nodes that exist."""
        return self._gaps

    def report(self, node: str, report: NodeReport) -> bool:
        """Take in what a node says: absolute totals. Returns whether the node's state changed."""
        last = self._take(node)
        before = last.tally
        tally = report.tally
        if node in self._ended:
            self._ended.discard(node)
            if before.beyond(tally) != NOTHING:
                # The node was told to forget the job, and began anew.
                self.retired += before
                before = NOTHING
        current = report.generation >= self.generation
        state = report.state if current else agent_pb2.JOB_STATE_UNSPECIFIED
        self._put(node, Record(state, report.pods, report.gaps, tally.at_least(before)))
        trouble = self._troubles.get(node)
        self._note_trouble(node, report if current else None)
        moved = (state, report.pods) != (last.state, last.pods)
        return moved or self._troubles.get(node) != trouble

    def withdraw(self, node: str) -> None:
        """The job is no longer meant for a node that still exists."""
        if node in self._records:
            self._put(node, _NONE._replace(tally=self._take(node).tally))
            self._note_trouble(node, None)
            self._ended.add(node)

    def retire(self, node: str) -> None:
        """A node is gone: what it counted stays."""
        if node in self._records:
            self.retired += self._take(node).tally
            self._note_trouble(node, None)
            self._ended.discard(node)

    def settle(self, desired: Collection[str]) -> None:
        """Once every desired node has reported, book what is missing as that of gone nodes."""
        if self._settled or not all(node in self._records for node in desired):
            return
        self.retired += self._published.beyond(self.retired + self._sum)
        self._settled = True

    def begin_generation(self, generation: int) -> None:
        """The job was changed: nodes have yet to say what they make of it."""
        if generation == self.generation:
            return
        self.generation = generation
        self._states = [0] * _STATES
        unspecified = agent_pb2.JOB_STATE_UNSPECIFIED
        self._states[unspecified] = self._records.set_all(unspecified)
        self._troubles.clear()

    def census(
        self, desired: Collection[str], unreachable: Iterable[str], left_out: Collection[str] = ()
    ) -> Census:
        """Count nodes by state.

        unreachable: those of `desired` that no agent speaks for; left_out: others of them, which
        were not told of the job.
        """
        states = list(self._states)
        gone = 0
        degraded = sum(1 for rank, *_ in self._troubles.values() if rank == _DEGRADED)
        for node in unreachable:
            gone += 1
            record = self._records.get(node)
            if record is not None:
                states[record.state] -= 1
                trouble = self._troubles.get(node)
                degraded -= trouble is not None and trouble[0] == _DEGRADED
        return Census(
            desired=len(desired),
            answered=sum(states) - states[agent_pb2.JOB_STATE_UNSPECIFIED],
            running=states[agent_pb2.JOB_STATE_RUNNING],
            waiting=states[agent_pb2.JOB_STATE_WAITING],
            suspended=states[agent_pb2.JOB_STATE_SUSPENDED],
            finished=states[agent_pb2.JOB_STATE_FINISHED],
            failed=states[agent_pb2.JOB_STATE_FAILED] + len(left_out),
            unsupported=states[agent_pb2.JOB_STATE_UNSUPPORTED],
            unreachable=gone,
            degraded=degraded,
            left_out=len(left_out),
        )

    def failures(
        self, unreachable: Iterable[str], left_out: Iterable[str] = ()
    ) -> tuple[Failure, ...]:
        """Return the few worst troubles, the worst first."""
        troubles = dict(self._troubles)
        for node in left_out:
            troubles[node] = (_LEFT_OUT, seats.REASON, seats.MESSAGE)
        for node in unreachable:
            troubles[node] = (_UNREACHABLE, "Unreachable", "no agent of the node is connected")
        ranked = ((rank, node) for node, (rank, *_) in troubles.items())
        worst = heapq.nsmallest(MAX_FAILURES, ranked)
        return tuple(
            Failure(node=node, reason=troubles[node][1], message=troubles[node][2])
            for _, node in worst
        )

    def _note_trouble(self, node: str, report: NodeReport | None) -> None:
        self._troubles.pop(node, None)
        if report is None:
            return
        if report.state in _TROUBLED:
            rank = _TROUBLED[report.state]
            self._troubles[node] = (rank, report.reason or "Failed", report.message)
        elif report.degraded:
            self._troubles[node] = (_DEGRADED, "Degraded", report.degraded)

    def _take(self, node: str) -> Record:
        """Remove a node's record, also from the sums, and return it."""
        record = self._records.get(node)
        if record is None:
            return _NONE
        self._records.remove(node)
        self._states[record.state] -= 1
        self._pods -= record.pods
        self._gaps -= record.gaps
        self._sum = self._sum.beyond(record.tally)
        return record

    def _put(self, node: str, record: Record) -> None:
        self._records.put(node, record)
        self._states[record.state] += 1
        self._pods += record.pods
        self._gaps += record.gaps
        self._sum += record.tally
