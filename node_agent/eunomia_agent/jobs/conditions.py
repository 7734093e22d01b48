# SPDX-License-Identifier: Apache-2.0
"""What the kernel is asked of a tracker's rows, for each kind of job. Loads a parser."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from eunomia_agent.errors import ConditionInvalid, DenyNotInKernel, KillNotInKernel
from eunomia_agent.events.layout import SUBJECT_COLUMNS, Column, event_layout
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.jobs.whose import Whose, apart
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.filter import STEPS, Undecided, filter_of
from eunomia_agent.trackers.key import Enforcement
from eunomia_agent.trackers.paths import path_columns
from eunomia_agent.trackers.pushdown import NO_ROWS, Asked, Condition, around, split
from eunomia_agent.trackers.ranges import among_columns
from eunomia_api import agent_pb2
from eunomia_api.where import Expression, WhereInvalid, parse, syntax, types

KILLS = "enforce_until"
"""The map of objects whose programs can kill: events.h."""
OTHERS = "matches_owners"
"""The variable of objects whose events may be about others than the current task: match.h."""
LONGEST_QUOTE = 120
_MARKS = re.compile(r"""[][()]|&&|\|\||"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")
"""Brackets, what joins conditions, and texts."""
MAX_READ = 1024


class Conditions:
    """What can be asked of one tracker's rows, and where it is decided.

    Rules are read once: policies share them, and are looked at again with every change.
    """

    def __init__(self, tracker: Tracker, btf: Btf) -> None:
        self._tracker = tracker
        self._kills = KILLS in btf.maps() and OTHERS not in btf.section(".rodata")
        self._paths = path_columns(btf)
        self._filterable = _filterable(tracker, btf)
        self._among = among_columns(btf)
        self._filters = STEPS in btf.maps()
        self._events = _columns(btf) if self._filters else {}
        self._read = lru_cache(maxsize=MAX_READ)(self._parsed_alone)

    def of_where(self, text: str) -> tuple[Mapping[str, Condition], Expression | None]:
        """Return what the kernel decides of a job's `where`, and what is left to the agent.

        Raises ConditionInvalid.
        """
        pushed, rest = split(self._parsed(text), self._filterable, self._paths, self._among)
        hidden = {column.name for column in self._tracker.hidden}
        left = rest.columns & hidden if rest else None
        if left:
            raise ConditionInvalid(
                f"{self._tracker.name}: where: no row shows {', '.join(sorted(left))}, and the"
                " kernel cannot decide this"
            )
        return pushed, rest

    def of_rules(self, rules: Iterable[agent_pb2.Rule]) -> Mapping[str, Condition]:
        """Return what all rows are in that any of a policy's rules may be about.

        The rules are asked again, each as a whole, by whom the rows go to. That one tells of rules
        that cannot be read as well: here they are left out.
        """
        roots = [root for rule in rules if (root := self._rule(rule)) is not None]
        if not roots:
            return NO_ROWS
        return around(roots, self._filterable, self._paths, self._among)

    def of_enforced(
        self, rule: agent_pb2.Rule, enforcement: Enforcement
    ) -> tuple[Mapping[str, Asked], Whose]:
        """Return what the kernel decides of what is to be enforced, and of whose it may be.

        The second is asked of cgroups as they become known; nothing else is left open. Raises
        ConditionInvalid, KillNotInKernel, DenyNotInKernel.
        """
        name = self._tracker.name
        denies = enforcement == Enforcement.DENY
        does, refusal = ("denies", DenyNotInKernel) if denies else ("kills", KillNotInKernel)
        if denies and not self._tracker.denies:
            raise refusal(
                f"{name}: nothing of what it tells can be refused; let the rule report",
                f"nothing of what {name} tells can be refused",
            )
        if not denies and not self._kills:
            raise refusal(
                f"{name}: its rows may tell of others than the process that is about to go on:"
                " nobody is killed for them; let the rule report",
                f"{name} may tell of others than who is killed",
            )
        if not rule.when:
            asked = "what is to be denied" if denies else "who is to be killed"
            raise refusal(f"{name}: no condition says {asked}", "it has no condition")
        if rule.count > 1 or rule.for_ms:
            raise refusal(
                f"{name}: the kernel {does} at the first event, and the rule is broken by several:"
                " leave out count and for, or let it report",
                "broken by several events",
            )
        when = self._parsed(rule.when)
        exceptions = [_not(self._parsed(each.when).root) for each in rule.exceptions]
        alone, others = apart(when.conjuncts)
        alone_excepted, others_excepted = apart(exceptions)
        pushed, undecided = self._decided([*others, *others_excepted])
        if undecided or not pushed:
            read = [(rule.when, others or when.conjuncts)]
            read += [
                (text.when, (each,)) for text, each in zip(rule.exceptions, exceptions, strict=True)
            ]
            parts = "; ".join(
                part for text, nodes in read for part in _quoted(text, self._left(nodes, undecided))
            )
            raise refusal(
                f"{name}: the kernel {does} only on what it can decide by itself, and this it"
                f" cannot: {parts}; compare columns with single values, or let the rule report",
                f"the kernel does not decide {parts}",
            )
        return pushed, Whose((*alone,), tuple(each.operand for each in alone_excepted))

    def _decided(
        self, conjuncts: Sequence[syntax.Node]
    ) -> tuple[Mapping[str, Asked], Sequence[syntax.Node]]:
        """Return how the kernel decides all of some conditions, and what it cannot decide."""
        whole = Expression.of(conjuncts)
        if whole is None:
            return {}, ()
        pushed, rest = split(whole, self._filterable, self._paths, self._among, whole_paths=True)
        if rest is None:
            return pushed, ()
        if not self._filters:
            return {}, rest.conjuncts
        try:
            found = filter_of(conjuncts, self._events)
        except Undecided as error:
            return {}, error.parts
        return {**around([whole.root], self._filterable, self._paths, self._among), "": found}, ()

    def _left(
        self, conjuncts: Sequence[syntax.Node], undecided: Sequence[syntax.Node]
    ) -> Sequence[syntax.Node]:
        """Return which of some conditions the kernel cannot decide; all, where it needs others."""
        return self._decided(apart(conjuncts)[1])[1] if undecided else conjuncts

    def _parsed(self, text: str) -> Expression:
        try:
            return parse(text, self._tracker.columns, self._tracker.hidden)
        except WhereInvalid as error:
            raise ConditionInvalid(f"{self._tracker.name}: where: {error}") from error

    def _parsed_alone(self, text: str) -> syntax.Node | None:
        """Return a condition on what rows show; None where it cannot be read."""
        try:
            return parse(text, self._tracker.columns).root
        except WhereInvalid:
            return None

    def _rule(self, rule: agent_pb2.Rule) -> syntax.Node | None:
        """Return a rule's condition without its exceptions; None where it cannot be read."""
        when = self._read(rule.when)
        passed_over = [self._read(each.when) for each in rule.exceptions]
        if when is None or None in passed_over:
            return None
        if not passed_over:
            return when
        others = [_not(each) for each in passed_over if each]
        return syntax.Both(when.position, types.BOOL, (when, *others))


def _not(node: syntax.Node) -> syntax.Not:
    return syntax.Not(node.position, types.BOOL, node)


def _filterable(tracker: Tracker, btf: Btf) -> Mapping[str, Column]:
    wanted = {column.name for column in tracker.columns if column.filterable}
    hidden = {column.name: SUBJECT_COLUMNS[column.name] for column in tracker.hidden}
    return hidden | {
        column.name: column
        for layout in result_layouts(btf).values()
        for column in layout.columns
        if column.name in wanted
    }


def _columns(btf: Btf) -> Mapping[str, Column]:
    return {column.name: column for column in event_layout(btf).columns if not column.internal}


def _quoted(text: str, parts: Iterable[syntax.Node]) -> Iterator[str]:
    """Give the text of some parts of a condition, each once."""
    for quote in dict.fromkeys(_whole(text, node) for node in parts):
        yield quote if len(quote) <= LONGEST_QUOTE else f"{quote[:LONGEST_QUOTE]}…"


def _whole(text: str, node: syntax.Node) -> str:
    """Return the text of a part: up to the bracket that ends it, or to what joins it to another."""
    text = text[min(part.position for part in syntax.walk(node)) :]
    joins = () if isinstance(node, syntax.Either) else ("&&", "||")
    depth = 0
    for found in _MARKS.finditer(text):
        mark = found.group()
        depth += (mark in "([") - (mark in ")]")
        if depth < 0 or (depth == 0 and mark in joins):
            return text[: found.start()].strip()
    return text.strip()
