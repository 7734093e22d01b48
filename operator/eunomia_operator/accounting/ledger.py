# SPDX-License-Identifier: Apache-2.0
"""What the nodes said of one object of which they have a job, added up as it comes in. Pure."""

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from eunomia_api import agent_pb2
from eunomia_api.tracejob import MAX_FAILURES, Failure
from eunomia_operator.accounting.account import Account
from eunomia_operator.accounting.records import Rows, Slots
from eunomia_operator.accounting.tally import NOTHING, Tally
from eunomia_operator.planning import seats

_STATES = len(agent_pb2.JobState.values())
_TROUBLED = {
    agent_pb2.JOB_STATE_FAILED: 0,
    agent_pb2.JOB_STATE_UNSUPPORTED: 1,
}
_UNREACHABLE = 2
_LEFT_OUT = 3
_DEGRADED = 4
DEGRADED = "Degraded"
"""Reason of a failure of a node that runs the job, but not as it should."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The latest that a node said."""

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


class _Place(NamedTuple):
    """How a node stands."""

    state: int
    pods: int
    gaps: int


_NOWHERE = _Place(agent_pb2.JOB_STATE_UNSPECIFIED, 0, 0)


class Ledger:
    """The reports of one object's job."""

    def __init__(
        self, published: Tally = NOTHING, retired: Tally = NOTHING, slots: Slots | None = None
    ) -> None:
        """Begin from a status: its `events` and `retired`.

        slots: where many ledgers are kept, those of all.
        """
        self.generation = 0
        """The object's generation; what nodes say of an older one tells only of totals."""
        self._account = Account(published, retired, slots)
        self._places = Rows(slots or Slots(), "BII")
        self._troubles: dict[str, tuple[int, str, str]] = {}
        self._asides: dict[str, dict[str, str]] = {}
        self._states = [0] * _STATES
        self._pods = 0
        self._gaps = 0

    @property
    def events(self) -> Tally:
        """The figure of all nodes, which never goes down."""
        return self._account.figure

    @property
    def retired(self) -> Tally:
        """The part of it that came from nodes that are gone."""
        return self._account.retired

    @property
    def pods(self) -> int:
        """Pods that are covered, on all nodes."""
        return self._pods

    @property
    def gaps(self) -> int:
        """Gaps on the nodes that exist."""
        return self._gaps

    def __contains__(self, node: str) -> bool:
        return node in self._places

    def report(self, node: str, report: NodeReport) -> bool:
        """Take in what a node says: absolute totals. Returns whether the node's state changed."""
        self._account.report(node, report.tally)
        last = self._place(node)
        current = report.generation >= self.generation
        state = report.state if current else agent_pb2.JOB_STATE_UNSPECIFIED
        place = _Place(state, report.pods, report.gaps)
        if place != last:
            self._take(node)
            self._put(node, place)
        trouble = self._troubles.get(node)
        self._note_trouble(node, report if current else None)
        moved = (state, report.pods) != (last or _NOWHERE)[:2]
        return moved or self._troubles.get(node) != trouble

    def note_aside(self, node: str, part: str, problem: str) -> bool:
        """Take note that a part of the job cannot run on a node, or, with no problem, that it can.

        Returns whether that is news.
        """
        parts = self._asides.setdefault(node, {})
        before = parts.pop(part, "")
        if problem:
            parts[part] = problem
        if not parts:
            del self._asides[node]
        return problem != before

    def withdraw(self, node: str) -> None:
        """The job is no longer meant for a node that still exists."""
        self._account.withdraw(node)
        if node in self._places:
            self._take(node)
            self._put(node, _NOWHERE)
        self._forget_trouble(node)

    def retire(self, node: str) -> None:
        """A node is gone: what it counted stays."""
        self._account.retire(node)
        self._take(node)
        self._forget_trouble(node)

    def settle(self, desired: Collection[str]) -> None:
        """Once every desired node has reported, book what is missing as that of gone nodes."""
        self._account.settle(desired)

    def begin_generation(self, generation: int) -> None:
        """The object was changed: nodes have yet to say what they make of it."""
        if generation == self.generation:
            return
        self.generation = generation
        self._states = [0] * _STATES
        unspecified = agent_pb2.JOB_STATE_UNSPECIFIED
        self._states[unspecified] = self._places.set_all(unspecified)
        self._troubles.clear()
        self._asides.clear()

    def census(
        self, desired: Collection[str], unreachable: Iterable[str], left_out: Collection[str] = ()
    ) -> Census:
        """Count nodes by state.

        unreachable: those of `desired` that no agent speaks for; left_out: others of them, which
        were not told of the job.
        """
        states = list(self._states)
        degraded = {node for node, (rank, *_) in self._troubles.items() if rank == _DEGRADED}
        degraded.update(self._asides.keys() - self._troubles.keys())
        gone = 0
        for node in unreachable:
            gone += 1
            place = self._place(node)
            if place is not None:
                states[place.state] -= 1
            degraded.discard(node)
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
            degraded=len(degraded),
            left_out=len(left_out),
        )

    def failures(
        self, unreachable: Iterable[str], left_out: Iterable[str] = ()
    ) -> tuple[Failure, ...]:
        """Return the few worst troubles, the worst first."""
        troubles = {
            node: (_DEGRADED, DEGRADED, next(iter(parts.values())))
            for node, parts in self._asides.items()
        }
        troubles.update(self._troubles)
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
            self._troubles[node] = (_DEGRADED, DEGRADED, report.degraded)

    def _forget_trouble(self, node: str) -> None:
        self._troubles.pop(node, None)
        self._asides.pop(node, None)

    def _place(self, node: str) -> _Place | None:
        row = self._places.get(node)
        return None if row is None else _Place(*row)

    def _take(self, node: str) -> _Place:
        """Remove how a node stands, also from the sums, and return it."""
        place = self._place(node)
        if place is None:
            return _NOWHERE
        self._places.remove(node)
        self._states[place.state] -= 1
        self._pods -= place.pods
        self._gaps -= place.gaps
        return place

    def _put(self, node: str, place: _Place) -> None:
        self._places.put(node, place)
        self._states[place.state] += 1
        self._pods += place.pods
        self._gaps += place.gaps
