# SPDX-License-Identifier: Apache-2.0
"""Which rows break a rule: its expressions are read once, and asked of whole batches."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from eunomia_agent.events.where import in_order, met
from eunomia_agent.events.where.evaluation import value
from eunomia_agent.events.where.scope import Part, Scope
from eunomia_agent.events.where.vector import Vector, terms_of
from eunomia_agent.rules.errors import RuleInvalid
from eunomia_agent.rules.message import Template
from eunomia_agent.rules.rows import Index
from eunomia_agent.rules.window import MAX_COUNT, MAX_DISTINCT, key_of
from eunomia_agent.trackers.catalogue import Column, Tracker
from eunomia_api import agent_pb2
from eunomia_api.param import shown
from eunomia_api.where import OWNER, WhereInvalid, parse, syntax, types
from eunomia_api.where.column import UNUSABLE, type_of
from eunomia_api.where.syntax import Node

CONTAINER = "container_id"
SEVERITIES = (
    agent_pb2.SEVERITY_EVENT,
    agent_pb2.SEVERITY_WARNING,
    agent_pb2.SEVERITY_ALERT,
)
MAX_PROBLEM = 512
Conjuncts = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A rule as it reads the rows of one tracker. types: of the columns."""

    when: Conjuncts
    exceptions: tuple[Conjuncts, ...]
    group_by: tuple[syntax.Name, ...]
    distinct: syntax.Name | None
    types: Mapping[str, str]

    def broken_by(self, scope: Scope) -> Index:
        """Return the rows that break the rule.

        A row of which an exception cannot be told is none: it breaks the rule.
        """
        rows = np.flatnonzero(met(self.when, scope))
        for exception in self.exceptions:
            if not len(rows):
                break
            rows = rows[~met(exception, Part(scope, rows))]
        return rows

    def keys(self, scope: Scope, rows: Index) -> Sequence[str]:
        """Return the group of each of some rows."""
        columns = [_texts(value(name, Part(scope, rows)), len(rows)) for name in self.group_by]
        return [key_of(each) for each in zip(*columns, strict=True)]

    def values(self, scope: Scope, rows: Index) -> Sequence[str]:
        """Return of each of some rows what is counted by its different values."""
        if self.distinct is None:
            return [""] * len(rows)
        return _texts(value(self.distinct, Part(scope, rows)), len(rows))


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule that can be judged. name: GROUP/NAME of a built-in one. by_tracker: how it reads."""

    name: str
    wire: agent_pb2.Rule
    message: Template
    by_tracker: Mapping[str, Reading]


def name_of(rule: agent_pb2.Rule) -> str:
    """Return what a rule is called in alerts: GROUP/NAME, or NAME of one of the user's own."""
    return rule.policy_rule or rule.name


def compile_rule(rule: agent_pb2.Rule, trackers: Mapping[str, Tracker]) -> Compiled:
    """Read a rule. Raises RuleInvalid that names the field, and the place in it."""
    _check_windows(rule)
    try:
        message = Template.parse(rule.message)
    except ValueError as error:
        raise RuleInvalid(f"message: {error}", "message") from None
    if not rule.trackers:
        raise RuleInvalid("events: names no tracker", "events")
    readings = {
        name: _reading(rule, message, _tracker(name, trackers, place))
        for place, name in enumerate(rule.trackers)
    }
    return Compiled(name_of(rule), rule, message, readings)


def compile_all(
    rules: Iterable[agent_pb2.Rule], trackers: Mapping[str, Tracker]
) -> tuple[list[Compiled], list[agent_pb2.RuleProblem]]:
    """Read rules: those that can be judged, and what is wrong with the others."""
    good: list[Compiled] = []
    problems: list[agent_pb2.RuleProblem] = []
    for rule in rules:
        try:
            good.append(compile_rule(rule, trackers))
        except RuleInvalid as error:
            problems.append(_problem(rule, str(error)))
    return good, problems


def _problem(rule: agent_pb2.Rule, reason: str) -> agent_pb2.RuleProblem:
    return agent_pb2.RuleProblem(rule=name_of(rule), message=reason[:MAX_PROBLEM])


def _check_windows(rule: agent_pb2.Rule) -> None:
    if rule.severity not in SEVERITIES:
        raise RuleInvalid("severity: must be event, warning or alert", "severity")
    most = MAX_DISTINCT if rule.distinct else MAX_COUNT
    if rule.count > most:
        raise RuleInvalid(f"count: must be at most {most}, not {rule.count}", "count")
    if rule.distinct and rule.count < 2:
        raise RuleInvalid("distinct: needs a count of 2 or more", "distinct")
    if rule.count > 1 and not rule.within_ms:
        raise RuleInvalid("count: needs within, a time that is above 0", "count")
    if rule.count > 1 and rule.for_ms:
        raise RuleInvalid("for: excludes count; make two rules", "for")


def _tracker(name: str, trackers: Mapping[str, Tracker], place: int) -> Tracker:
    if name not in trackers:
        known = ", ".join(sorted(trackers))
        raise RuleInvalid(
            f"events: there is no tracker {shown(name)} in this agent; it has {known}",
            *("events", place),
        )
    return trackers[name]


def _reading(rule: agent_pb2.Rule, message: Template, tracker: Tracker) -> Reading:
    columns = {column.name: column for column in tracker.columns}
    reading = Reading(
        when=_conjuncts(rule.when, tracker, "when"),
        exceptions=tuple(
            _conjuncts(each.when, tracker, "exceptions", place, "when")
            for place, each in enumerate(rule.exceptions)
        ),
        group_by=tuple(_name(tracker, columns, each, "groupBy") for each in _group_by(rule)),
        distinct=_name(tracker, columns, rule.distinct, "distinct") if rule.distinct else None,
        types={name: column.type for name, column in columns.items()},
    )
    for name in message.names:
        if name not in columns and name not in OWNER:
            raise _unknown(tracker, "message", name, [*columns, *OWNER])
    return reading


def _group_by(rule: agent_pb2.Rule) -> Sequence[str]:
    return rule.group_by or (CONTAINER,)


def _conjuncts(text: str, tracker: Tracker, *field: str | int) -> Conjuncts:
    try:
        return in_order(parse(text, tracker.columns))
    except WhereInvalid as error:
        spoken = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in field)
        raise RuleInvalid(f"{spoken[1:]}: {tracker.name}: {error}", *field) from None


def _name(tracker: Tracker, columns: Mapping[str, Column], name: str, field: str) -> syntax.Name:
    if name in columns and columns[name].type not in UNUSABLE:
        return syntax.Name(0, type_of(columns[name]), name, "column")
    if name in OWNER:
        return syntax.Name(0, types.STRING, name, "owner")
    usable = [each.name for each in columns.values() if each.type not in UNUSABLE]
    raise _unknown(tracker, field, name, [*usable, *OWNER])


def _unknown(tracker: Tracker, field: str, name: str, known: Sequence[str]) -> RuleInvalid:
    near = get_close_matches(name, known, n=1)
    rest = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return RuleInvalid(f"{field}: {tracker.name}: no column {shown(name)}; {rest}", field)


def _texts(vector: Vector, count: int) -> list[str]:
    """Return each value as text; that of a row that has none is empty."""
    terms = terms_of(vector)
    known = [each if isinstance(each, str) else json.dumps(each) for each in terms.known]
    texts = [known[code] for code in np.broadcast_to(terms.codes, count).tolist()]
    if not terms.error.any():
        return texts
    wrong = np.broadcast_to(terms.error, count).tolist()
    return ["" if error else text for text, error in zip(texts, wrong, strict=True)]
