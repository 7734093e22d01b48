# SPDX-License-Identifier: Apache-2.0
"""Judges the rows of one policy as they come, and hands on what is to be told."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.where.scope import Scope
from eunomia_agent.events.where.sieve import Sieve
from eunomia_agent.finding import Finding
from eunomia_agent.rules.alert import Case, alert_of
from eunomia_agent.rules.judge import MAX_PROBLEM, Compiled, Reading, compile_all
from eunomia_agent.rules.limit import RATE, Limit
from eunomia_agent.rules.line import as_json
from eunomia_agent.rules.message import Template
from eunomia_agent.rules.refused import Attempted, told_elsewhere
from eunomia_agent.rules.rows import Index, Judged, Live
from eunomia_agent.rules.window import Windows
from eunomia_agent.sinks.clock import boot_offset_ns
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_api import agent_pb2
from eunomia_api.enforcement import DENY, KILL, Enforcement, of_job
from eunomia_api.findings import FLOOD

logger = logging.getLogger("eunomia.rules")

CROWDED_NS = 60_000_000_000
"""For so long after a group was forgotten, it is told."""


class Outlet(Protocol):
    """Where alerts go."""

    def put(self, alert: agent_pb2.Alert) -> bool:
        """Take an alert; False where there is no room for it."""
        ...


class AlertSink(Protocol):
    """An output of a policy."""

    name: str

    @property
    def problem(self) -> str | None:
        """What is wrong now; None again once it works again."""
        ...

    def append(self, line: bytes) -> bool:
        """Write an alert, as line.as_json has it; return whether it was taken. Never raises."""
        ...

    def close(self) -> None:
        """Let go of what is open. Safe to repeat."""
        ...


Counted = Callable[[str, int, Owner], None]
"""Is told of each alert, and of those above a rate: its rule, its severity, who it is about."""
Elsewhere = Callable[[str, Owner], Enforcement | None]
"""How another job, whose guard tells of it then, enforces a rule for somebody; None: none does."""


def _nobody_counts(rule: str, severity: int, owner: Owner) -> None:
    """Do nothing."""


def _nowhere(rule: str, owner: Owner) -> Enforcement | None:
    """Return that there is none."""


@dataclass(slots=True)
class _Watch:
    rule: Compiled
    windows: Windows


@dataclass(frozen=True, slots=True)
class _Asked:
    """Rules that read one tracker, and which of them a batch can break at all."""

    watches: Sequence[_Watch]
    readings: Sequence[Reading]
    sieve: Sieve


@dataclass(frozen=True, slots=True)
class _Case:
    """A case with the place of its row, and what is said of it."""

    case: Case
    place: int
    message: Template
    types: Mapping[str, str]
    enforced: bool = False
    finding: Finding | None = None
    """What was found out, where no row broke a rule."""


class Guard:
    """A sink that judges rows by the rules of a job, each on its own: what is wrong with one rule
    stops no other.

    trackers: of the catalogue, by name. Alerts of a job that enforces a rule say so of what the
    kernel has answered, and not of who was not yet known to be a target. One that denies tells of
    nothing else: what was let through the job that observes has seen as well.
    """

    name = "rules"
    limited = 0

    def __init__(
        self,
        job: agent_pb2.Job,
        trackers: Mapping[str, Tracker],
        outlet: Outlet,
        counted: Counted = _nobody_counts,
        elsewhere: Elsewhere = _nowhere,
        *,
        outputs: Sequence[AlertSink] = (),
        node: str = "",
    ) -> None:
        """Read the rules; those that cannot be judged are in the report's problems.

        outputs: take each alert, too, with the name of the node; they are closed by who opened
        them.
        """
        self._uid = job.uid.partition("/")[0]
        self._dry_run = job.dry_run
        self._outlet = outlet
        self._counted = counted
        self._elsewhere = elsewhere
        self._outputs = outputs
        self._node = node
        rules, self._problems = compile_all(job.rules, trackers)
        self._watches = [_Watch(rule, Windows(rule.wire)) for rule in rules]
        self._asked = _by_tracker(self._watches)
        self._limit = Limit()
        self._by_severity: Counter[int] = Counter()
        self._base = agent_pb2.PolicyReport()
        self._deduplicated = self._dropped = 0
        self._enforcement = of_job(job)
        self.enforcing = self._enforcement is not None and not job.dry_run
        self._has_room = True
        self._crowded: tuple[str, int] | None = None
        """The rule of which groups were forgotten last, and when by the rows' clock."""
        self._now = 0

    @property
    def problem(self) -> str | None:
        """What is wrong now: alerts find no room, or a rule has too many groups to watch."""
        for each in self._outputs:
            if each.problem:
                return f"alerts to {each.name}: {each.problem}"
        if not self._has_room:
            return "alerts find no room: they are counted and not told"
        if self._crowded is None or self._now - self._crowded[1] > CROWDED_NS:
            return None
        return f"{self._crowded[0]} has more groups than are remembered: the oldest are forgotten"

    def write(self, rows: Rows) -> int:
        """Judge rows; see Sink. Rows that no rule could be asked about are not accepted."""
        try:
            self.judge(Live(rows))
        except Exception:
            logger.exception("rows of %s could not be judged", rows.tracker)
            return 0
        return len(rows)

    def close(self) -> None:
        """Do nothing: alerts are the outlet's."""

    def judge(self, rows: Judged) -> None:
        """Judge rows by every rule that reads their tracker, and tell of them by their time."""
        asked = self._asked.get(rows.tracker)
        if asked is None:
            return
        scope = Attempted(rows.scope) if self._enforcement is DENY else rows.scope
        cases: list[_Case] = []
        for number in asked.sieve.passing(scope):
            watch, reading = asked.watches[number], asked.readings[number]
            try:
                cases += self._judged(watch, reading, rows, scope)
            except Exception as error:
                logger.exception("rule %s is not judged any more", watch.rule.name)
                self._give_up(watch, error)
        cases.sort(key=lambda each: each.case.at)
        self._tell(list(self._admitted(cases)), rows.json)

    def drop(self) -> None:
        """Take note that an alert which had found room made room for another one."""
        self._dropped += 1

    def find(self, finding: Finding) -> None:
        """Tell of what was found out without a rule, with the same limits."""
        rule = agent_pb2.Rule(name=finding.rule, severity=agent_pb2.SEVERITY_WARNING)
        case = Case(
            *(rule, finding.rule, self._uid, finding.owner, "", finding.key),
            at=finding.at,
            time_ns=finding.at + boot_offset_ns(),
            rows=finding.count,
            once=True,
        )
        found = _Case(case, 0, Template.parse(finding.message), {}, finding=finding)
        line = json.dumps(dict(finding.row)).encode()
        self._tell(list(self._admitted([found])), lambda places: [line] * len(places))

    def report(self) -> agent_pb2.PolicyReport:
        """Return what came of it since the policy began on this node.

        killed and denied are as they were restored: the kernel counts these.
        """
        base, now = self._base, self._by_severity
        return agent_pb2.PolicyReport(
            events=base.events + now[agent_pb2.SEVERITY_EVENT],
            warnings=base.warnings + now[agent_pb2.SEVERITY_WARNING],
            alerts=base.alerts + now[agent_pb2.SEVERITY_ALERT],
            deduplicated=base.deduplicated + self._deduplicated,
            dropped=base.dropped + self._dropped,
            killed=base.killed,
            denied=base.denied,
            problems=self._problems,
        )

    def restore(self, report: agent_pb2.PolicyReport) -> None:
        """Go on from the counts of an earlier run."""
        self._base.CopyFrom(report)

    def _judged(
        self, watch: _Watch, reading: Reading, rows: Judged, scope: Scope
    ) -> Iterator[_Case]:
        """Give the cases of one rule. scope: what it is asked about."""
        broken = self._broken(watch.rule, reading, rows, scope)
        if not len(broken):
            return
        keys = reading.keys(rows.scope, broken)
        values = reading.values(rows.scope, broken)
        windows, rule = watch.windows, watch.rule
        before = windows.deduplicated
        times = rows.times[broken].tolist()
        breaches = windows.take(keys, times, values)
        self._deduplicated += windows.deduplicated - before
        self._now = max(self._now, times[-1])
        if windows.forgot:
            windows.forgot = False
            self._crowded = rule.name, self._now
        enforced = rows.enforced[broken].tolist() if breaches else []
        for each in breaches:
            place, at = int(broken[each.place]), times[each.place]
            case = Case(
                *(rule.wire, rule.name, self._uid, rows.owner, rows.tracker, keys[each.place]),
                at=at,
                time_ns=at + rows.offset_ns,
                rows=each.rows,
            )
            yield _Case(case, place, rule.message, reading.types, enforced[each.place])

    def _broken(self, rule: Compiled, reading: Reading, rows: Judged, scope: Scope) -> Index:
        """Return the rows that break a rule and are for this guard to tell of."""
        broken = reading.broken_by(scope)
        if self._enforcement is DENY:
            return broken[rows.enforced[broken]]
        elsewhere = self._elsewhere(rule.name, rows.owner) if len(broken) else None
        if elsewhere is None:
            return broken
        if elsewhere is KILL:
            return broken[:0]
        return broken[~told_elsewhere(broken, reading, rows)]

    def _admitted(self, cases: Sequence[_Case]) -> Iterator[_Case]:
        """Give the cases that are told: what the container's rate leaves room for."""
        for each in cases:
            self._count(each.case)
            if self._limit.admits(each.case):
                yield each
                continue
            self._dropped += 1
            refused = self._limit.to_tell(each.case)
            if refused:
                flood = replace(
                    each,
                    case=_flood(each.case, refused),
                    message=_flooded(refused),
                    finding=None,
                )
                self._count(flood.case)
                yield flood

    def _tell(self, cases: Sequence[_Case], rendered: Callable[[Index], Sequence[bytes]]) -> None:
        """Make alerts, and hand them on. No other rows are rendered for it."""
        if not cases:
            return
        lines = rendered(np.array([each.place for each in cases], np.intp))
        for each, line in zip(cases, lines, strict=True):
            try:
                alert = self._alert(each, line)
                self._has_room = self._outlet.put(alert)
                self._dropped += not self._has_room
                for output in self._outputs:
                    output.append(as_json(alert, self._node))
            except Exception:
                logger.exception("an alert of rule %s could not be told", each.case.name)
                self._dropped += 1

    def _alert(self, each: _Case, line: bytes) -> agent_pb2.Alert:
        row = json.loads(line)
        owner = each.case.owner
        whole = {**row, "image": owner.image, "pod_uid": owner.pod_uid}
        message = each.message.filled(whole, each.types)
        alert = alert_of(each.case, row, message)
        alert.dry_run = self._dry_run
        if self._enforcement and self.enforcing and each.enforced and each.case.name != FLOOD:
            alert.response = self._enforcement.done
        if each.finding is not None:
            alert.response, alert.dry_run = each.finding.response, each.finding.dry_run
        return alert

    def _count(self, case: Case) -> None:
        self._by_severity[case.rule.severity] += 1
        self._counted(case.name, case.rule.severity, case.owner)

    def _give_up(self, watch: _Watch, error: Exception) -> None:
        self._watches.remove(watch)
        self._asked = _by_tracker(self._watches)
        message = f"is not judged any more: {error!r}"[:MAX_PROBLEM]
        self._problems.append(agent_pb2.RuleProblem(rule=watch.rule.name, message=message))


def _by_tracker(watches: Sequence[_Watch]) -> Mapping[str, _Asked]:
    asked: dict[str, _Asked] = {}
    for tracker in {name for watch in watches for name in watch.rule.by_tracker}:
        reading = [watch for watch in watches if tracker in watch.rule.by_tracker]
        readings = [watch.rule.by_tracker[tracker] for watch in reading]
        asked[tracker] = _Asked(reading, readings, Sieve(each.when for each in readings))
    return asked


def _flood(case: Case, refused: int) -> Case:
    rule = agent_pb2.Rule(name=FLOOD, severity=case.rule.severity)
    return replace(case, rule=rule, name=FLOOD, rows=refused, once=False)


def _flooded(refused: int) -> Template:
    text = (
        f"alerts of this container come faster than {RATE} a second: they are counted and not told,"
        f" {refused} since this was last said"
    )
    return Template((text,))
