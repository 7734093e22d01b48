# SPDX-License-Identifier: Apache-2.0
"""`eunomia rules`: what the library has, and what rules would have told of recorded rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eunomia_agent.cli.alerts import counts
from eunomia_agent.cli.catalogue import catalogue
from eunomia_agent.cli.errors import CommandError, one_line
from eunomia_agent.cli.recordings import read
from eunomia_agent.cli.rulebook import Written, library, load, trackers_of, why_not_enforced
from eunomia_agent.cli.trackers import table
from eunomia_agent.jobs.enforceable import told
from eunomia_agent.rules.errors import RowInvalid
from eunomia_agent.rules.line import as_json, date, severity
from eunomia_agent.rules.recorded import Event
from eunomia_agent.rules.replay import example, replay
from eunomia_api import agent_pb2
from eunomia_api.duration import seconds
from eunomia_api.library import NoSuchRule
from eunomia_api.rule import Example, LibraryRule

HEAD = ("TIME", "SEVERITY", "RULE", "CONTAINER", "MESSAGE")
SECOND = 1_000_000_000


def list_as_text() -> str:
    """Return a line for each rule, by groups."""
    rows: list[tuple[str, ...]] = [("RULE", "SEVERITY", "EVENTS", "ENFORCED BY", "")]
    rules = library().rules
    for name, why_not in why_not_enforced(rules).items():
        rule = rules[name]
        sentence = rule.description.partition(". ")[0].removesuffix(".")
        can = ", ".join(response for response, why in why_not.items() if not why)
        rows.append((name, rule.severity, ", ".join(rule.events), can or "-", sentence))
    return "\n".join(table(rows, indent=0))


def list_as_json() -> str:
    """Return all rules as one JSON object a line."""
    rules = library().rules
    return "\n".join(
        json.dumps(_plain(name, rules[name], why_not))
        for name, why_not in why_not_enforced(rules).items()
    )


def one_as_json(name: str) -> str:
    """Return a rule as a JSON object. Raises CommandError."""
    rule = _rule(name)
    return json.dumps(_plain(name, rule, why_not_enforced([name])[name]), indent=2)


def one_as_text(name: str) -> str:
    """Return what a rule means, what to do, and how it is judged. Raises CommandError."""
    rule = _rule(name)
    lines = [f"{name}: {rule.severity}", "", *table([(rule.description,)], indent=0)]
    lines += ["", "What to do", *table([(rule.remedy or "-",)])]
    lines += ["", "When", *table([(rule.when,)])]
    if rule.exceptions:
        lines += ["", "But not when", *table([(each.name, each.when) for each in rule.exceptions])]
    how = [("events", ", ".join(rule.events)), ("tags", ", ".join(rule.tags) or "-")]
    if rule.count > 1:
        what = f"different values of {rule.distinct}" if rule.distinct else "rows"
        how.append(("count", f"{rule.count} {what} within {rule.within}"))
    if rule.for_:
        how.append(("for", f"{rule.for_}, with pauses of at most {rule.within or '10s'}"))
    how += [("group by", ", ".join(rule.group_by)), ("deduplicate", rule.deduplicate)]
    how += [("message", rule.message), ("enforced by", told(why_not_enforced([name])[name]))]
    return "\n".join([*lines, "", "Judged", *table(how)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test of rules came to. problems: what is wrong with rules or their examples."""

    alerts: Sequence[agent_pb2.Alert]
    problems: Sequence[str]
    summary: str

    def as_text(self) -> str:
        """Return a line for each alert, under the names of the columns; nothing without any."""
        rows = [
            (
                f"{date(alert)[:19]}Z",
                severity(alert),
                alert.rule,
                "/".join(filter(None, (alert.namespace, alert.pod, alert.container))) or "-",
                one_line(alert.message),
            )
            for alert in self.alerts
        ]
        if not rows:
            return ""
        whole = [HEAD, *rows]
        widths = [max(len(row[place]) for row in whole) for place in range(len(HEAD) - 1)]
        return "\n".join(
            "".join(f"{cell:<{width + 2}}" for cell, width in zip(row, widths, strict=False))
            + row[-1]
            for row in whole
        )

    def as_json(self) -> str:
        """Return a JSON object for each alert."""
        return "\n".join(as_json(alert).decode("ascii") for alert in self.alerts)


def test(path: Path, events: Path | None, kubernetes_api: str) -> Outcome:
    """Judge recorded rows by the rules of a file; without any, the file's own examples.

    kubernetes_api: that of the cluster which the rows are from. Raises CommandError with FILE:LINE.
    """
    written = load(path)
    if events is None:
        return _examples(written)
    wanted = set(trackers_of(written.rules))
    trackers = {name: each for name, each in catalogue().trackers.items() if name in wanted}
    rows = 0

    def counted() -> Iterator[Event]:
        nonlocal rows
        for event in read(events, trackers):
            rows += 1
            yield event

    alerts, report = replay(written.rules, counted(), trackers, kubernetes_api=kubernetes_api)
    problems = [*written.problems, *(f"{each.rule}: {each.message}" for each in report.problems)]
    summary = f"{_several(len(written.rules), 'rule')}, {_several(rows, 'row')}: {counts(report)}"
    return Outcome(alerts, problems, summary)


def _examples(written: Written) -> Outcome:
    judged = {rule.name: rule for rule in written.rules}
    problems, alerts, tried = list(written.problems), list[agent_pb2.Alert](), 0
    for name, (rule, place) in written.models.items():
        if rule.examples is None or name not in judged:
            continue
        for field, fires in (("fires", True), ("silent", False)):
            for number, each in enumerate(getattr(rule.examples, field)):
                tried += 1
                where = (*place, "examples", field, number)
                try:
                    found = tried_on(judged[name], each)
                except RowInvalid as error:
                    problems.append(written.document.problem(where, f"{rule.name}: {error}"))
                    continue
                if bool(found) != fires:
                    reason = "is told of" if found else "is not told of"
                    problems.append(written.document.problem(where, f"{rule.name}: {reason}"))
                alerts += found
    if not tried:
        raise CommandError(f"{written.document.name}: has no examples; give --events DIR")
    return Outcome(
        alerts, problems, f"{_several(len(judged), 'rule')}, {_several(tried, 'example')}"
    )


def tried_on(rule: agent_pb2.Rule, each: Example) -> list[agent_pb2.Alert]:
    """Return what a rule tells of an example. Raises RowInvalid."""
    trackers = catalogue().trackers
    if each.tracker not in trackers:
        raise RowInvalid(f"there is no tracker {each.tracker}")
    events = list(
        example(
            each.tracker,
            each.row,
            times=each.times,
            every_ns=round(seconds(each.every) * SECOND),
            vary=each.vary,
        )
    )
    for event in events:
        event.check(trackers[each.tracker], known_only=True)
    return replay([rule], events, trackers)[0]


def _rule(name: str) -> LibraryRule:
    known = library()
    try:
        names = known.names(name)
    except NoSuchRule as error:
        raise CommandError(str(error)) from None
    if names != [name]:
        raise CommandError(f"{name} is a group: name one of {', '.join(names)}")
    return known.rules[name]


def _plain(name: str, rule: LibraryRule, why_not: Mapping[str, str]) -> dict[str, object]:
    """enforcement: by response, why the kernel cannot give it; null where it can."""
    fields = rule.model_dump(mode="json", by_alias=True, exclude={"examples", "name"})
    enforcement = {response: why or None for response, why in why_not.items()}
    return {"name": name, **fields, "enforcement": enforcement}


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
