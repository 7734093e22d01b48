# SPDX-License-Identifier: Apache-2.0
"""Whether a policy can be run as it is written, and which of its rules. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pydantic import ValidationError

from eunomia_api.acceptance import NotAccepted, bounded, refusal
from eunomia_api.allowance import Allowance
from eunomia_api.enforcement import by_response
from eunomia_api.library import Library, NoSuchRule
from eunomia_api.policy import (
    AddedException,
    ClusterSecurityPolicySpec,
    PolicySpec,
    SecurityPolicySpec,
)
from eunomia_api.policystatus import RuleProblem
from eunomia_api.rule import Response, Rule
from eunomia_api.template import Placeholder, TemplateInvalid, parts
from eunomia_api.tracker import Catalogue, CatalogueTracker
from eunomia_api.where import MAX_CHARACTERS, OWNER, Column, WhereInvalid, parse
from eunomia_api.where.column import UNUSABLE

KINDS: dict[str, type[SecurityPolicySpec] | type[ClusterSecurityPolicySpec]] = {
    "SecurityPolicy": SecurityPolicySpec,
    "ClusterSecurityPolicy": ClusterSecurityPolicySpec,
}


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule that is judged."""

    name: str
    """Unlike any other in the policy: GROUP/NAME of a built-in rule, else the rule's own."""
    rule: Rule
    """With the exceptions that the policy adds, and the response that it settles on."""
    built_in: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A policy that can be run."""

    spec: PolicySpec
    rules: tuple[NamedRule, ...]
    """Those that can be judged: built-in ones first."""
    problems: tuple[RuleProblem, ...]
    """Why others cannot, or not as they were asked for."""


def accept_policy(kind: str, spec: object, catalogue: Catalogue, library: Library) -> Accepted:
    """Return the parsed `spec` of a policy, with the rules that can be judged.

    A rule that is wrong by itself is a problem, and the others go on. Raises NotAccepted naming the
    field (spec.rules.custom[0].within), what is wrong with it and what is allowed.
    """
    try:
        accepted = KINDS[kind].model_validate(spec)
    except ValidationError as invalid:
        raise refusal(invalid) from None
    problems: list[RuleProblem] = []
    rules: list[NamedRule] = []
    allowance = Allowance()
    for named in _chosen(accepted, library, problems):
        reason = allowance.take(named.rule, built_in=named.built_in)
        reason = reason or wrong(named.rule, catalogue)
        if reason:
            problems.append(_problem(named.name, reason))
        else:
            rules.append(_responding(named, accepted, catalogue, problems))
    return Accepted(accepted, tuple(rules), tuple(problems))


def wrong(rule: Rule, catalogue: Catalogue) -> str:
    """Return why a rule cannot be judged on the rows of its trackers; empty where it can.

    Names the field, the tracker and the column or the place in the expression.
    """
    return next(_reasons(rule, catalogue), "")


def _chosen(spec: PolicySpec, library: Library, problems: list[RuleProblem]) -> Iterator[NamedRule]:
    excluded: set[str] = set()
    for name in spec.rules.exclude:
        excluded.update(_names(name, "exclude", library, problems))
    names = [
        name
        for chosen in spec.rules.built_in
        for name in _names(chosen, "builtIn", library, problems)
    ]
    wanted = {name: library.rules[name] for name in names if name not in excluded}
    for added in spec.rules.exceptions:
        if added.rule not in wanted:
            reason = f"rules.exceptions: {added.name} is for a rule that the policy does not have"
            problems.append(_problem(added.rule, reason))
    for name, found in wanted.items():
        added_ones = [added for added in spec.rules.exceptions if added.rule == name]
        yield NamedRule(name, _excepted(found, added_ones), built_in=True)
    for rule in spec.rules.custom:
        yield NamedRule(rule.name, rule)


def _names(chosen: str, field: str, library: Library, problems: list[RuleProblem]) -> Sequence[str]:
    try:
        return library.names(chosen)
    except NoSuchRule as unknown:
        problems.append(_problem(chosen, f"rules.{field}: {unknown}"))
        return ()


def _excepted(rule: Rule, added: Sequence[AddedException]) -> Rule:
    if not added:
        return rule
    return rule.model_copy(update={"exceptions": [*rule.exceptions, *added]})


def _responding(
    named: NamedRule, spec: PolicySpec, catalogue: Catalogue, problems: list[RuleProblem]
) -> NamedRule:
    """Return a rule with what is done about it; reported alone where that cannot be done."""
    rule = named.rule
    response = rule.response or spec.response.to(rule.severity)
    reason = _out_of_reach(response, spec) or _unanswered(rule, response, catalogue)
    if reason:
        why = f"response {response}: {reason}; it is reported alone"
        problems.append(_problem(named.name, why))
        response = Response.REPORT
    settled = rule.model_copy(update={"response": response})
    return NamedRule(named.name, settled, named.built_in)


def _out_of_reach(response: Response, spec: PolicySpec) -> str:
    if response != Response.REPORT and spec.target.pod_selector is None:
        return "it reaches pods alone, and spec.target has no podSelector"
    return ""


def _unanswered(rule: Rule, response: Response, catalogue: Catalogue) -> str:
    """Return why a response cannot be given; empty where it can."""
    if by_response(response) is None:
        return ""
    if rule.count > 1 or rule.for_ is not None:
        return "the kernel judges single events, and cannot wait for count or for"
    for name in rule.events:
        tracker = catalogue.tracker(name)
        if response == Response.DENY and not tracker.denies:
            return f"{name} has no program that could refuse; {_refusing(catalogue)}"
    return ""


def _refusing(catalogue: Catalogue) -> str:
    names = sorted(tracker.name for tracker in catalogue.trackers if tracker.denies)
    return f"trackers that have: {', '.join(names) or 'none'}"


def _reasons(rule: Rule, catalogue: Catalogue) -> Iterator[str]:
    known = {tracker.name: tracker for tracker in catalogue.trackers}
    unknown = [name for name in rule.events if name not in known]
    if unknown:
        listed = ", ".join(sorted(known))
        yield f'events: there is no tracker "{unknown[0]}"; there are: {listed}'
        return
    for tracker in (known[name] for name in rule.events):
        yield from _expressions(rule, tracker)
        yield from _columns(rule, tracker)
        yield from _message(rule, tracker)


def _expressions(rule: Rule, tracker: CatalogueTracker) -> Iterator[str]:
    written = [("when", rule.when)]
    written += [(f"exceptions, {each.name}: when", each.when) for each in rule.exceptions]
    for place, text in written:
        fault = _fault(text, tracker)
        if fault:
            yield f"{place}, on {tracker.name}: {fault}"


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether a text means something for rows of these columns."""

    text: str
    names: tuple[tuple[str, str], ...]
    """Of the columns, with their types."""
    rows: Sequence[Column] = field(compare=False)


def _fault(text: str, tracker: CatalogueTracker) -> str:
    """Return what is wrong with an expression, and at what place in it; empty where nothing is.

    Many policies ask the same, those with built-in rules above all, and answers are kept.
    """
    names = tuple((column.name, column.type) for column in tracker.rows)
    question = _Question(text, names, tracker.rows)
    return (_answer if len(text) <= MAX_CHARACTERS else _answer.__wrapped__)(question)


@lru_cache(maxsize=4096)
def _answer(question: _Question) -> str:
    try:
        parse(question.text, question.rows)
    except WhereInvalid as invalid:
        return str(invalid)
    return ""


def _columns(rule: Rule, tracker: CatalogueTracker) -> Iterator[str]:
    columns = {column.name: column for column in tracker.rows}
    wanted = [("groupBy", name) for name in rule.group_by]
    wanted += [("distinct", rule.distinct)] if rule.distinct else []
    for place, name in wanted:
        column = columns.get(name)
        if column is None and name not in OWNER:
            yield f"{place}: {_no_column(name, tracker)}"
        elif column is not None and column.type in UNUSABLE:
            yield f'{place}: "{name}" is a date, which differs in every row'
        elif column is not None and column.json_type == "array":
            yield f'{place}: "{name}" is a list, and rows are grouped by single values'


def _message(rule: Rule, tracker: CatalogueTracker) -> Iterator[str]:
    columns = {column.name for column in tracker.rows}
    try:
        found = parts(rule.message)
    except TemplateInvalid as invalid:
        yield f"message: {invalid}"
        return
    for part in found:
        if isinstance(part, Placeholder) and part.column not in columns | set(OWNER):
            place = f"at character {part.position + 1}"
            yield f"message: {place}: {_no_column(part.column, tracker)}"


def _no_column(name: str, tracker: CatalogueTracker) -> str:
    known = ", ".join([*(column.name for column in tracker.rows), *OWNER])
    return f'{tracker.name} has no column "{name}"; there are {known}'


def _problem(rule: str, reason: str) -> RuleProblem:
    return RuleProblem(rule=rule, message=bounded(reason))


__all__ = ["KINDS", "Accepted", "NamedRule", "NotAccepted", "RuleProblem", "accept_policy", "wrong"]
