# SPDX-License-Identifier: Apache-2.0
"""A whole condition as the kernel asks it of an event that is there: bpf/include/filter.h."""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from eunomia_agent.events import names
from eunomia_agent.events.layout import Column
from eunomia_agent.events.render import MAPPED, ip
from eunomia_agent.trackers.pattern import alternatives
from eunomia_agent.trackers.pushdown import asked, number_named
from eunomia_api.where import syntax, types
from eunomia_api.where.syntax import Node

STEPS, USED = "where_filter", "filters"
"""The map of filter.h, and the variable that says whether anything is in it."""
MAX_STEPS = 1024
LONGEST = 64
CUT = b"..."
"""How a path begins whose beginning is cut off, and may be any: file.h."""
PASSES, FAILS = 0xFFFF, 0xFFFE
NUMBER, BITS, SAME, BEGINS, ENDS, HOLDS, INLINE, SECOND = range(8)
"""enum filter_test."""
_STEP = struct.Struct(f"=I4H3QI{LONGEST}s4x")
"""The key of the map, and struct filter_step."""
_TEXTS = frozenset({"string_t", "path_t"})
_IN_ESCAPES = frozenset("\\x0123456789abcdef")
"""What may stand in rows for a byte that is no text, and not in the kernel: events/render.py."""
_ANY = (1 << 64) - 1


class Undecided(Exception):
    """The kernel cannot be asked all; `parts` are what it cannot."""

    def __init__(self, *parts: Node) -> None:
        super().__init__()
        self.parts = parts


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one column; see enum filter_test."""

    kind: int
    at: int
    least: int = 0
    above: int = 0
    mask: int = 0
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Every:
    """Parts that must all hold."""

    parts: "tuple[Part, ...]"


@dataclass(frozen=True, slots=True)
class Some:
    """Parts of which one must hold."""

    parts: "tuple[Part, ...]"


@dataclass(frozen=True, slots=True)
class Opposite:
    """A part that must not hold."""

    part: "Part"


Part = Question | Every | Some | Opposite
ALWAYS, NEVER = Every(()), Some(())


@dataclass(frozen=True, slots=True)
class Filter:
    """Questions behind one another, each with where to go on if it holds, and if it does not."""

    steps: tuple[tuple[Question, int, int], ...] = field(repr=False)

    def variables(self, _: str) -> dict[str, bytes]:
        """Return the variable and the map with what they hold, as it lies in memory."""
        return {
            USED: b"\x01",
            STEPS: b"".join(
                _STEP.pack(
                    *(place, test.kind, test.at, yes, no),
                    *(test.least, test.above, test.mask, len(test.text), test.text),
                )
                for place, (test, yes, no) in enumerate(self.steps)
            ),
        }


def filter_of(conjuncts: Iterable[Node], columns: Mapping[str, Column]) -> Filter:
    """Return the filter that asks all of some conditions of an event.

    columns: the event's, with where each is in it. Owners are containers. Raises Undecided.
    """
    parts: list[Part] = []
    undecided: list[Node] = []
    for conjunct in conjuncts:
        try:
            parts.append(_part(conjunct, columns, positive=True))
        except Undecided as error:
            undecided += error.parts
        if sum(map(_questions, parts)) > MAX_STEPS:
            undecided.append(conjunct)
    if undecided:
        raise Undecided(*undecided)
    steps: list[tuple[Question, int, int]] = []
    entry = _placed(Every(tuple(parts)), PASSES, FAILS, steps)
    if entry >= FAILS:
        steps, entry = [(Question(NUMBER, 0, above=_ANY, mask=_ANY), entry, entry)], 0
    last = len(steps) - 1

    def turned(place: int) -> int:
        return place if place >= FAILS else last - place

    return Filter(tuple((test, turned(yes), turned(no)) for test, yes, no in reversed(steps)))


def _questions(part: Part) -> int:
    match part:
        case Every(parts=parts) | Some(parts=parts):
            return sum(map(_questions, parts))
        case Opposite(part=inner):
            return _questions(inner)
        case Question():
            return 1


def _placed(part: Part, yes: int, no: int, steps: list[tuple[Question, int, int]]) -> int:
    """Add what a part asks, the last question first; return the place of the one to begin with."""
    match part:
        case Every(parts=parts):
            for each in reversed(parts):
                yes = _placed(each, yes, no, steps)
            return yes
        case Some(parts=parts):
            for each in reversed(parts):
                no = _placed(each, yes, no, steps)
            return no
        case Opposite(part=inner):
            return _placed(inner, no, yes, steps)
        case Question():
            steps.append((part, yes, no))
            return len(steps) - 1


def _part(node: Node, columns: Mapping[str, Column], *, positive: bool) -> Part:
    """Return what a condition asks.

    positive: what is not known of a text that is cut off may count as false; else as true. An
    element that is not there has no answer, which is no less behind a `!`.
    """
    match node:
        case syntax.Both(operands=operands):
            return Every(tuple(_part(each, columns, positive=positive) for each in operands))
        case syntax.Either(operands=operands):
            return Some(tuple(_part(each, columns, positive=positive) for each in operands))
        case syntax.Not(operand=operand) if not isinstance(operand, syntax.Name):
            _refuse_lists(operand)
            return Opposite(_part(operand, columns, positive=not positive))
        case syntax.In(item=item, container=syntax.ListOf(elements=elements)):
            equal = (_equal(item, each) for each in elements)
            return Some(tuple(_part(each, columns, positive=positive) for each in equal))
        case _:
            return _of_list(node, columns) or _one(node, columns, positive=positive)


def _refuse_lists(node: Node) -> None:
    for part in syntax.walk(node):
        if isinstance(part, syntax.Index | syntax.Quantifier):
            raise Undecided(part)


def _equal(item: Node, element: Node) -> Node:
    return syntax.Compare(item.position, types.BOOL, "==", item, element)


def _one(node: Node, columns: Mapping[str, Column], *, positive: bool) -> Part:
    found = asked(node)
    if found is None:
        raise Undecided(node)
    name, sign, value = found
    if name.kind == "owner":
        return _owner(node, name.name, sign, value)
    column = columns.get(name.name)
    if column is None or column.kinds:
        raise Undecided(node)
    asks: Part | None
    if isinstance(value, str):
        if sign == "!=":
            equal = _text(column, "==", value)
            asks = Opposite(equal) if equal else None
        else:
            asks = _text(column, sign, value)
    elif isinstance(value, int) and column.json_type in ("integer", "boolean"):
        asks = _compared(column, sign, int(value))
    else:
        asks = None
    if asks is None:
        raise Undecided(node)
    if (
        not positive
        and column.meaning == "path_t"
        and sign in ("startsWith", "contains", "matches")
    ):
        return Some((asks, Question(BEGINS, column.offset, text=CUT)))
    return asks


def _owner(node: Node, name: str, sign: str, value: syntax.Value) -> Part:
    """Nothing is enforced but on containers, and these have an id."""
    if name == "container_id" and value == "" and sign in ("==", "!="):
        return ALWAYS if sign == "!=" else NEVER
    raise Undecided(node)


# ---- numbers ----


def _range(column: Column, least: int, most: int) -> Part:
    """Return whether a column is from the one to the other, as far as its type goes."""
    bits = 8 * column.size
    signed = column.kind in ("int", "enum")
    floor, ceiling = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    least, most = max(least, floor), min(most, ceiling)
    if least > most:
        return NEVER
    mask = (1 << bits) - 1
    return Question(NUMBER, column.offset, least % (1 << 64), most - least, mask)


def _compared(column: Column, sign: str, value: int) -> Part | None:
    if column.size > 8 or column.kind not in ("int", "uint", "bool", "enum"):
        return None
    far = 1 << 65
    extents = {
        "==": (value, value),
        "<": (-far, value - 1),
        "<=": (-far, value),
        ">": (value + 1, far),
        ">=": (value, far),
    }
    if sign == "!=":
        return Opposite(_range(column, value, value))
    return _range(column, *extents[sign]) if sign in extents else None


# ---- what rows show as text ----


def _text(column: Column, sign: str, value: str) -> Part | None:
    if sign == "matches":
        each = [_text(column, *question) for question in alternatives(value) or ()]
        known = tuple(part for part in each if part is not None)
        return Some(known) if each and len(known) == len(each) else None
    if column.meaning in _TEXTS:
        return _string(column, sign, value)
    if column.kind == "flags":
        return _flag(column, sign, value)
    if column.kind == "chars":
        return _inline(column, sign, value)
    return _SHOWN.get(column.meaning, _named)(column, sign, value)


def _plain(value: str) -> bytes | None:
    text = value.encode()
    return None if "\\" in value or "\0" in value or len(text) > LONGEST else text


def _string(column: Column, sign: str, value: str) -> Part | None:
    text = _plain(value)
    if text is None:
        return None
    if sign in ("endsWith", "contains") and value[:1] in _IN_ESCAPES:
        return ALWAYS if not value else None
    kinds = {"==": SAME, "startsWith": BEGINS, "endsWith": ENDS, "contains": HOLDS}
    return Question(kinds[sign], column.offset, text=text) if sign in kinds else None


def _inline(column: Column, sign: str, value: str) -> Part | None:
    text = _plain(value)
    if text is None or len(text) >= column.size:
        return None
    if sign == "==":
        return Question(INLINE, column.offset, text=text + b"\0")
    return Question(INLINE, column.offset, text=text) if sign == "startsWith" else None


def _flag(column: Column, sign: str, value: str) -> Part | None:
    known = names.OPEN_FLAGS if column.meaning == "open_flags_t" else column.values
    others = (*names.OPEN_ACCESS.values(),) if column.meaning == "open_flags_t" else ()
    named = [bits for bits, name in known.items() if value in name]
    if sign != "contains" or not value or len(named) != 1 or any(value in name for name in others):
        return None
    (bits,) = named
    covering = [each for each in known if each & bits]
    if known[bits] != value or bits.bit_count() != 1 or covering != [bits]:
        return None
    return Question(BITS, column.offset, mask=bits)


def _mode(column: Column, sign: str, value: str) -> Part | None:
    """Return whether a mode, which rows show by four octal digits, begins with one."""
    if sign != "startsWith" or len(value) != 1 or value not in "01234567":
        return None
    return _range(column, int(value, 8) << 9, (int(value, 8) << 9) + 0o777)


def _named(column: Column, sign: str, value: str) -> Part | None:
    number = number_named(column, value) if sign == "==" else None
    return None if number is None else _range(column, number, number)


def _device(column: Column, sign: str, value: str) -> Part | None:
    major, colon, minor = value.partition(":")
    if sign != "==" or not colon or not (major.isdecimal() and minor.isdecimal()):
        return None
    number = int(major) << 20 | int(minor)
    shown = f"{number >> 20}:{number & 0xFFFFF}" == value
    return _range(column, number, number) if shown else None


def _address(column: Column, sign: str, value: str) -> Part | None:
    """Return whether an address is one, or one of IPv4 begins with whole numbers."""
    if sign == "==":
        try:
            address = ip_address(value)
        except ValueError:
            return NEVER
        whole = address.packed if address.version == 6 else MAPPED + address.packed
        return _bytes(column, whole) if ip(whole) == value else None
    numbers = value.split(".")
    begins = sign == "startsWith" and numbers.pop() == "" and 0 < len(numbers) < 4
    if not begins or not all(each.isdecimal() and str(int(each)) == each for each in numbers):
        return None
    if max(int(each) for each in numbers) > 255:
        return NEVER
    return _bytes(column, MAPPED + bytes(int(each) for each in numbers))


def _bytes(column: Column, begin: bytes) -> Part:
    return Question(INLINE, column.offset, text=begin)


_SHOWN: Mapping[str, Callable[[Column, str, str], Part | None]] = {
    "device_t": _device,
    "file_mode_t": _mode,
    "ip_t": _address,
    "open_flags_t": _flag,
}
"""By typedefs of numbers that rows show as text of their own."""


# ---- lists of texts: each ends with a NUL, but for a last one that was cut off ----


def _of_list(node: Node, columns: Mapping[str, Column]) -> Part | None:
    """Return what a condition asks of an element, or of any; None where it is of no list."""
    match node:
        case syntax.Quantifier(function="exists", range=syntax.Name() as name):
            column = _list(node, columns.get(name.name))
            return _exists(node.condition, node.variable, column)
        case syntax.Compare(
            operator="==",
            left=syntax.Index(container=syntax.Name() as name, index=syntax.Literal(value=place)),
            right=syntax.Literal(value=str() as value),
        ):
            return _element(node, _list(node, columns.get(name.name)), place, value)
        case _:
            return None


def _list(node: Node, column: Column | None) -> Column:
    if column is None or column.meaning != "args_t" or column.kinds:
        raise Undecided(node)
    return column


def _element(node: Node, column: Column, place: syntax.Value, value: str) -> Part:
    """Return whether an element is a text. What is cut off counts as another."""
    text = _plain(value)
    if text is None or len(text) >= LONGEST or place not in (0, 1) or isinstance(place, bool):
        raise Undecided(node)
    return Question(SECOND if place else BEGINS, column.offset, text=text + b"\0")


def _exists(part: Node, variable: str, column: Column) -> Part:
    match part:
        case syntax.Either(operands=operands):
            return Some(tuple(_exists(each, variable, column) for each in operands))
        case syntax.In(item=item, container=syntax.ListOf(elements=elements)):
            equal = (_equal(item, each) for each in elements)
            return Some(tuple(_exists(each, variable, column) for each in equal))
        case _:
            return _of_any(part, variable, column)


def _of_any(part: Node, variable: str, column: Column) -> Part:
    found = asked(part)
    text = _plain(found[2]) if found and isinstance(found[2], str) else None
    if found is None or not text or found[0].name != variable or len(text) > LONGEST - 2:
        raise Undecided(part)
    at = column.offset
    match found[1]:
        case "==":
            whole = text + b"\0"
            return Some((Question(BEGINS, at, text=whole), Question(HOLDS, at, text=b"\0" + whole)))
        case "startsWith":
            return Some((Question(BEGINS, at, text=text), Question(HOLDS, at, text=b"\0" + text)))
        case "contains" if chr(text[0]) not in _IN_ESCAPES:
            return Question(HOLDS, at, text=text)
        case _:
            raise Undecided(part)
