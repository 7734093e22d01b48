# SPDX-License-Identifier: Apache-2.0
"""What of a `where` the kernel decides: match.h, WHERE and its like; match_path.h, WHERE_PATH.

The kernel takes one range a column, some of them with the only values that are meant, or one set of
paths, which all events must be in. A condition
that is no more than such ranges is the kernel's alone; from one that is more, ranges are taken that
all its rows are in, and it is asked again on the rows that come.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from eunomia_agent.events import names
from eunomia_agent.events.layout import Column
from eunomia_agent.trackers.paths import ALL, DISK, PathsByClass, PathSet, class_of, path_set
from eunomia_agent.trackers.pattern import alternatives
from eunomia_agent.trackers.ranges import LEAST, MAX_AMONG, MOST, Flags, Range, TextRange
from eunomia_api.where import Expression, syntax, types
from eunomia_api.where.syntax import Node

_LONGEST = 15
_TABLES: Mapping[str, Mapping[int, str]] = {
    "errno_t": names.ERRORS,
    "signal_t": names.SIGNALS,
    "syscall_t": names.SYSCALLS,
    "capability_t": names.CAPABILITIES,
    "file_type_t": {
        number << names.FILE_TYPE_SHIFT: names.FILE_TYPES.get(number, str(number))
        for number in range(1 << 4)
    },
}
_NO_PATHS: Mapping[str, str] = {}
_SWAPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


_TYPES = _TABLES["file_type_t"]
_DISKS = frozenset(number for number, name in _TYPES.items() if name == "block")
_NO_DISKS = frozenset(_TYPES) - _DISKS
Condition = Range | TextRange | Flags | PathSet | PathsByClass
NO_ROWS: Mapping[str, Condition] = {"pid": Range(1, 0)}
"""What no row is in, of whatever tracker: match.h has each one ask for this column."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the kernel can decide on; see split. assumed: all that some columns may be."""

    filterable: Mapping[str, Column]
    paths: Mapping[str, str]
    among: Collection[str]
    whole_paths: bool = False
    assumed: Mapping[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])


@dataclass(frozen=True, slots=True)
class Found:
    """Ranges, by column, that a condition's rows are in; whole: that is all there is to it.

    never: there are no such rows, as far as what is assumed goes.
    """

    ranges: Mapping[str, Condition]
    whole: bool
    never: bool = False

    @property
    def always(self) -> bool:
        """Whether all rows are meant."""
        return self.whole and not self.ranges and not self.never


_NOTHING = Found({}, whole=False)
_ALWAYS = Found({}, whole=True)
_NEVER = Found({}, whole=True, never=True)


def split(
    expression: Expression,
    filterable: Mapping[str, Column],
    paths: Mapping[str, str] = _NO_PATHS,
    among: Collection[str] = (),
    *,
    whole_paths: bool = False,
) -> tuple[dict[str, Condition], Expression | None]:
    """Return what the kernel decides, by column, and what is left to the agent, if anything.

    filterable: columns for which the object has variables where_COLUMN…; paths: those of them that
    are paths, each with the column whose sets it is looked up in; among: those that may have some
    values with others between them. whole_paths: the kernel lets no
    path pass that it knows only a part of; else it does, and is never the only one that is asked
    about a path.
    """
    columns = Columns(filterable, paths, among, whole_paths=whole_paths)
    pushed: dict[str, Condition] = {}
    rest: list[Node] = []
    for conjunct in expression.conjuncts:
        found = _ranges(conjunct, columns)
        taken = [_narrow(pushed, name, condition) for name, condition in found.ranges.items()]
        if not found.whole or not all(taken):
            rest.append(conjunct)
    return pushed, Expression.of(rest)


class Asked(Protocol):
    """Anything that the kernel is asked by variables and maps of an object."""

    def variables(self, column: str, /) -> dict[str, bytes]:
        """Return them with what they hold, as it lies in memory."""
        ...


def variables(pushed: Mapping[str, Asked]) -> dict[str, bytes]:
    """Return what was pushed, by the object's variable or map, as it lies in memory there."""
    found: dict[str, bytes] = {}
    for column, condition in pushed.items():
        found |= condition.variables(column)
    return found


def around(
    roots: Sequence[Node],
    filterable: Mapping[str, Column],
    paths: Mapping[str, str] = _NO_PATHS,
    among: Collection[str] = (),
) -> dict[str, Condition]:
    """Return what all rows are in for which any of some conditions holds, by column.

    The kernel asks for other paths in each class of events (see match_path.h), so each class is
    looked at by itself: what opens are asked is not lost on those that are about no open.
    """
    any_of = syntax.Either(0, types.BOOL, tuple(roots))
    columns = Columns(filterable, paths, among)
    classes = _classes(columns)
    found = {
        of: part
        for of, assumed in classes.items()
        if not (part := _ranges(any_of, replace(columns, assumed=assumed))).never
    }
    if not found:
        return dict(NO_ROWS)
    parts = [
        Found({**_around_all(classes[of]), **part.ranges}, whole=False)
        for of, part in found.items()
    ]
    ranges = dict(_any(parts, among).ranges)
    for name in set(paths.values()):
        ranges.pop(name, None)
        sets = {of: each for of in found if isinstance(each := found[of].ranges.get(name), PathSet)}
        by_class = PathsByClass.of(sets, free=sum(found.keys() - sets.keys()))
        if sets and by_class.fits:
            ranges[name] = by_class
    return ranges


def _classes(columns: Columns) -> Mapping[int, Mapping[str, frozenset[int]]]:
    """Return the classes of events, each with what is known of its columns."""
    kind, writing = (columns.filterable.get(name) for name in ("kind", "writing"))
    if not columns.paths or kind is None or writing is None or kind.kind != "enum":
        return {ALL: {}}
    classes = {
        class_of(number, writing=bool(writes)): {
            "kind": frozenset({number}),
            "writing": frozenset({writes}),
        }
        for number in kind.values
        for writes in (0, 1)
    }
    if "file_type" not in columns.filterable:
        return classes
    for number in (number for number, name in kind.values.items() if name == "open"):
        for writes in (False, True):
            opens = classes[class_of(number, writing=writes)]
            classes[class_of(DISK, writing=writes)] = opens | {"file_type": _DISKS}
            classes[class_of(number, writing=writes)] = opens | {"file_type": _NO_DISKS}
    return classes


def _around_all(assumed: Mapping[str, frozenset[int]]) -> Mapping[str, Range]:
    return {name: Range(min(numbers), max(numbers)) for name, numbers in assumed.items()}


def _narrow(ranges: dict[str, Condition], name: str, condition: Condition) -> bool:
    """Add a condition to those there are; return False where the two cannot be one range."""
    before = ranges.get(name)
    both: Condition | None = condition
    if isinstance(before, Range):
        both = before.both(condition) if isinstance(condition, Range) else None
    elif isinstance(before, TextRange):
        both = before.both(condition) if isinstance(condition, TextRange) else None
    elif isinstance(before, Flags):
        both = before.both(condition) if isinstance(condition, Flags) else None
    elif before is not None:
        both = before if before == condition else None
    if both is None:
        return False
    ranges[name] = both
    return True


def _ranges(node: Node, columns: Columns) -> Found:
    match node:
        case syntax.Both(operands=operands):
            return _all([_ranges(operand, columns) for operand in operands])
        case syntax.Either(operands=operands):
            return _any([_ranges(operand, columns) for operand in operands], columns.among)
        case syntax.In(item=syntax.Name() as name, container=syntax.ListOf(elements=elements)):
            return _any([_is_element(name, each, columns) for each in elements], columns.among)
        case syntax.Not(operand=operand) if not isinstance(operand, syntax.Name):
            return _negated(_ranges(operand, columns))
        case _:
            found = asked(node)
            return _compared(*found, columns) if found else _NOTHING


def _negated(found: Found) -> Found:
    if found.never:
        return _ALWAYS
    return _NEVER if found.always else _NOTHING


def asked(node: Node) -> tuple[syntax.Name, str, syntax.Value] | None:
    """Return what a condition on one column asks: the column, how, and what for."""
    found: tuple[syntax.Name, str, syntax.Value] | None = None
    match node:
        case syntax.Name() as name:
            found = name, "==", True
        case syntax.Not(operand=syntax.Name() as name):
            found = name, "==", False
        case syntax.Compare(
            operator=sign, left=syntax.Name() as name, right=syntax.Literal() as to
        ):
            found = name, sign, to.value
        case syntax.Compare(
            operator=sign, left=syntax.Literal() as to, right=syntax.Name() as name
        ):
            found = name, _SWAPPED[sign], to.value
        case syntax.Call(function=sign, arguments=(syntax.Name() as name, syntax.Literal() as to)):
            found = name, sign, to.value
        case _:
            pass
    return found


def _is_element(name: syntax.Name, element: Node, columns: Columns) -> Found:
    if not isinstance(element, syntax.Literal):
        return _NOTHING
    return _compared(name, "==", element.value, columns)


def _all(parts: Sequence[Found]) -> Found:
    if any(part.never for part in parts):
        return _NEVER
    ranges: dict[str, Condition] = {}
    taken = [
        _narrow(ranges, name, condition)
        for part in parts
        for name, condition in part.ranges.items()
    ]
    return Found(ranges, whole=all(part.whole for part in parts) and all(taken))


def _any(parts: Sequence[Found], among: Collection[str]) -> Found:
    """Return the ranges around those of all parts: more may be in them than in any of the parts."""
    if not parts:
        return _NOTHING
    parts = [part for part in parts if not part.never]
    if not parts:
        return _NEVER
    if any(part.always for part in parts):
        return _ALWAYS
    ranges: dict[str, Condition] = {}
    for name in set[str].intersection(*(set(part.ranges) for part in parts)):
        each = [part.ranges[name] for part in parts]
        if len(set(each)) == 1:
            ranges[name] = each[0]
        elif numbers := [one for one in each if isinstance(one, Range)]:
            ranges[name] = _around(numbers, apart=name in among)
        elif all_paths := PathSet.union(one for one in each if isinstance(one, PathSet)):
            ranges[name] = all_paths
    alone = all(part.whole and part.ranges.keys() == ranges.keys() for part in parts)
    return Found(ranges, whole=alone and len(ranges) == 1 and _are_all(ranges, parts))


def _around(ranges: Sequence[Range], *, apart: bool) -> Range:
    """Return all values of some ranges and, but where they may stand apart, those in between."""
    values = [each.values for each in ranges]
    few = frozenset[int]().union(*(each or () for each in values))
    if apart and None not in values and len(few) <= MAX_AMONG:
        return Range.of(few)
    return Range(min(each.least for each in ranges), max(each.most for each in ranges))


def _are_all(ranges: Mapping[str, Condition], parts: Sequence[Found]) -> bool:
    """Tell whether nothing but what is in any of the parts is in a column's range around them."""
    (around,) = ranges.values()
    found = [condition for part in parts for condition in part.ranges.values()]
    if len(set(found)) == 1 or isinstance(around, PathSet):
        return True
    if isinstance(around, Range) and around.among:
        return True
    ordered = sorted(
        extent
        for one in found
        if isinstance(one, Range)
        for extent in ([(v, v) for v in one.among] or [(one.least, one.most)])
    )
    most = ordered[0][1]
    for least, end in ordered[1:]:
        if least > most + 1:
            return False
        most = max(most, end)
    return True


def _compared(name: syntax.Name, sign: str, value: syntax.Value, columns: Columns) -> Found:
    column = columns.filterable.get(name.name) if name.kind == "column" else None
    if column is None:
        return _NOTHING
    if sign == "!=" and name.name in columns.assumed:
        return _negated(_compared(name, "==", value, columns))
    if name.name in columns.paths:
        return _path(name.name, sign, value, columns)
    found = _values(column, sign, value)
    if found is None:
        return _NOTHING
    if isinstance(found, Range) and name.name in columns.assumed:
        within = {found.least <= each <= found.most for each in columns.assumed[name.name]}
        if within != {True, False}:
            return _ALWAYS if True in within else _NEVER
    # Events of another kind have no such column, and pass the kernel's range.
    return Found({name.name: found}, whole=not column.kinds)


def _values(column: Column, sign: str, value: syntax.Value) -> Condition | None:
    """Return what a column is that compares so; None where the kernel cannot be asked that."""
    if isinstance(value, str) and column.kind == "chars":
        return _text(sign, value)
    if isinstance(value, str) and column.kind == "flags":
        return _flags(column, sign, value)
    if isinstance(value, str):
        number = number_named(column, value)
        return _range(column, sign, number) if number is not None and sign in ("==", "!=") else None
    if isinstance(value, int) and column.json_type in ("integer", "boolean"):
        return _range(column, sign, int(value))
    return None


def _path(name: str, sign: str, value: syntax.Value, columns: Columns) -> Found:
    """Return the paths that a column is compared with, among those of the column it belongs to."""
    several = alternatives(value) if sign == "matches" and isinstance(value, str) else None
    each = [path_set(*question) for question in several or [(sign, value)]]
    found = PathSet.union(paths for paths, _ in each if paths)
    exactly = all(exact for _, exact in each)
    if not found or not all(paths for paths, _ in each):
        return _NOTHING
    among = columns.paths[name]
    if among != name:
        return Found({among: replace(found, others=frozenset({name}))}, whole=False)
    return Found(
        {name: found}, exactly and columns.whole_paths and not columns.filterable[name].kinds
    )


def number_named(column: Column, text: str) -> int | None:
    """Return the one number that rows show as a text; None where there is none, or several."""
    table = column.values if column.kind == "enum" else _TABLES.get(column.meaning, {})
    numbers = [number for number, name in table.items() if name == text]
    if not numbers and column.meaning in _TABLES and text.isdecimal() and text == str(int(text)):
        numbers = [int(text)]
        if numbers[0] in table:
            return None
    return numbers[0] if len(numbers) == 1 else None


def _range(column: Column, sign: str, value: int) -> Range | None:
    """Return the values of a column that compare so; None where that is no range of s64."""
    bits = 1 if column.kind == "bool" else 8 * column.size
    signed = column.kind in ("int", "enum")
    floor, ceiling = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    match sign:
        case "==" if not floor <= value <= ceiling:
            least, most = 1, 0
        case "==":
            least, most = value, value
        case "<":
            least, most = floor, value - 1
        case "<=":
            least, most = floor, value
        case ">":
            least, most = value + 1, ceiling
        case ">=":
            least, most = value, ceiling
        case "!=" if value <= floor:
            least, most = max(floor, value + 1), ceiling
        case "!=" if value >= ceiling:
            least, most = floor, min(ceiling, value - 1)
        case _:
            return None
    if min(least, most) < LEAST or max(least, most) > MOST:
        # u64 as s64: what is above would be taken for negative.
        return None
    return Range(least, most)


def _text(sign: str, value: str) -> TextRange | None:
    # A backslash may stand for a byte that is no text: see events/render.py.
    if "\\" in value or "\0" in value or len(value.encode()) > _LONGEST:
        return None
    if sign == "==":
        return TextRange(value.encode(), exact=True)
    if sign == "startsWith" and value:
        return TextRange(value.encode(), exact=False)
    return None


def _flags(column: Column, sign: str, value: str) -> Flags | None:
    """Return the flag that a text names which rows have among others; None where it is no one's."""
    if sign != "contains" or not value:
        return None
    named = [bits for bits, name in column.values.items() if value in name]
    if len(named) != 1 or column.values[named[0]] != value or named[0].bit_count() != 1:
        return None
    (bit,) = named
    return Flags(bit) if sum(bool(bits & bit) for bits in column.values) == 1 else None
