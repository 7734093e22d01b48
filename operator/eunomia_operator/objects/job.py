# SPDX-License-Identifier: Apache-2.0
"""One job as the operator follows it: what it wants, what nodes said, what its status says."""

import logging
from collections.abc import Mapping

from eunomia_api import agent_pb2
from eunomia_api.acceptance import NotAccepted, Spec, accept
from eunomia_api.tracejob import Phase, TraceJobStatus
from eunomia_api.tracker import Catalogue
from eunomia_operator import clock
from eunomia_operator.accounting.ledger import Ledger
from eunomia_operator.accounting.records import Slots
from eunomia_operator.objects.followed import Followed, Heard, judged, node_report
from eunomia_operator.objects.world import Resource
from eunomia_operator.planning.plan import PlannedJob
from eunomia_operator.status import job as status
from eunomia_operator.status.news import News, news

logger = logging.getLogger("eunomia.control")


class Job(Followed[TraceJobStatus]):
    """One job. Times are Unix times in seconds."""

    def __init__(self, seen: Resource, catalogue: Catalogue, slots: Slots) -> None:
        """Begin with a job as it is first seen, and with what an earlier leader made of it."""
        super().__init__(seen, TraceJobStatus, slots)
        self._catalogue = catalogue
        self.verdict = self._judged(seen)
        self._refused_since: float | None = None
        self._unclaimed_since: float | None = None

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

    def node_selector(self) -> Mapping[str, str] | None:
        """Return the labels of the nodes that it is meant for; None when it is for none."""
        if self.over or isinstance(self.verdict, NotAccepted):
            return None
        return self.verdict.target.node_selector

    def change(self, changed: Resource) -> None:
        """Take in an edit by a user."""
        self.object = changed
        self.verdict = self._judged(changed)
        self.ledger.begin_generation(changed.generation)
        self.dirty = True

    def hear(self, node: str, report: agent_pb2.JobReport) -> Heard:
        """Take in what a node says."""
        said = node_report(report)
        if said is None or report.uid != self.object.uid:
            return Heard.UNTRUE
        self.dirty = True
        return Heard.MOVED if self.ledger.report(node, said) else Heard.COUNTED

    def judge(self, now: float, led_since: float, unreachable: frozenset[str]) -> list[News]:
        """Bring the status up to date; return what is worth telling."""
        before = self.status
        census, failures = self.count(unreachable)
        self._refused_since = (self._refused_since or now) if census.refused else None
        self._unclaimed_since = None if self.nodes else (self._unclaimed_since or now)
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
            failures=failures,
            refused_since=self._refused_since,
            unclaimed_since=self._unclaimed_since,
        )
        self.status = status.judge(before, facts)
        self.dirty = False
        if self.over:
            self.nodes = self.left_out = frozenset()
            self.ledger = Ledger()
        return news(before, self.status)

    def is_judgement_due(self, now: float) -> bool:
        """Tell whether the status may have to say something else by now."""
        if self.dirty or self._refused_since is not None:
            return not self.over
        settled = self.status.phase in (Phase.RUNNING, Phase.SUSPENDED, Phase.FAILED)
        deadline = self.status.deadline
        return not self.over and not (settled and (not deadline or now < clock.read(deadline)))

    def is_urgent(self) -> bool:
        """Tell whether the status may not wait for the next time that counters are written."""
        return status.is_urgent(self.written, self.status)

    def delete_at(self) -> float | None:
        """Return when the job is to be deleted, if it ever is."""
        spec = self.verdict
        if not self.over or isinstance(spec, NotAccepted) or not self.status.completion_time:
            return None
        if spec.ttl_seconds_after_finished is None:
            return None
        return clock.read(self.status.completion_time) + spec.ttl_seconds_after_finished

    def _judged(self, seen: Resource) -> Spec | NotAccepted:
        return judged(seen, lambda: accept(seen.kind, seen.spec, self._catalogue))
