# SPDX-License-Identifier: Apache-2.0
"""What the kernel is asked of a tracker's rows, for each kind of job. Loads a parser."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from eunomia_agent.errors import ConditionInvalid, DenyNotInKernel, KillNotInKernel
from eunomia_agent.events.layout import SUBJECT_COLUMNS, Column
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.jobs.whose import Whose, apart
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.key import Enforcement
from eunomia_agent.trackers.paths import path_columns
from eunomia_agent.trackers.pushdown import NO_ROWS, Condition, around, split
from eunomia_agent.trackers.ranges import among_columns
from eunomia_api import agent_pb2
from eunomia_api.where import Expression, WhereInvalid, parse, syntax, types

KILLS = "enforce_until"
"""The map of objects whose programs can kill: events.h."""
OTHERS = "matches_owners"
"""The variable of objects whose events may be about others than the current task: match.h."""
LONGEST_QUOTE = 120
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
    ) -> tuple[Mapping[str, Condition], Whose]:
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
        pushed: Mapping[str, Condition] = {}
        rest = Expression.of([*others, *others_excepted])
        if rest is not None:
            pushed, rest = split(rest, self._filterable, self._paths, self._among, whole_paths=True)
        if rest is not None or not pushed:
            left = rest.conjuncts if rest else when.conjuncts
            read = [(rule.when, when.conjuncts)]
            read += [
                (text.when, (each,)) for text, each in zip(rule.exceptions, exceptions, strict=True)
            ]
            parts = "; ".join(part for each in read for part in _quoted(*each, left))
            raise refusal(
                f"{name}: the kernel {does} only on what it can decide by itself, and this it"
                f" cannot: {parts}; compare columns with single values, paths by ==, startsWith"
                ' or endsWith("/NAME"), or let the rule report',
                f"the kernel does not decide all that is asked of {_columns(left)}",
            )
        return pushed, Whose((*alone,), tuple(each.operand for each in alone_excepted))

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


def _columns(of: Iterable[syntax.Node]) -> str:
    """Name the columns of some of a condition's parts."""
    parts = (part for node in of for part in syntax.walk(node))
    named = (part.name for part in parts if isinstance(part, syntax.Name))
    return ", ".join(dict.fromkeys(named))


def _quoted(text: str, all_of: Sequence[syntax.Node], some: Sequence[syntax.Node]) -> Iterator[str]:
    """Give the text of some of a condition's parts."""
    begins = [min(part.position for part in syntax.walk(node)) for node in all_of]
    for begin, end, node in zip(begins, [*begins[1:], len(text)], all_of, strict=True):
        if node in some:
            part = text[begin:end].rstrip().removesuffix("(").rstrip().removesuffix("&&").rstrip()
            yield part if len(part) <= LONGEST_QUOTE else f"{part[:LONGEST_QUOTE]}…"
