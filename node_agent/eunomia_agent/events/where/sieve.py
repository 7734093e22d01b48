# SPDX-License-Identifier: Apache-2.0
"""Tells which of many conditions no row of a batch can meet, without asking each of them.

Most conditions hold only where some column is a text, or begins or ends with one. Such claims of
all conditions are looked for at once, in each distinct value of a column: so conditions that have
nothing to do with a batch cost it next to nothing, however many there are.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import and_
from typing import Any, Literal

from eunomia_agent.events.where.scope import Scope
from eunomia_agent.events.where.vector import FEW, Numbers, Raw, Vector, terms_of
from eunomia_api.where import syntax, types
from eunomia_api.where.syntax import Node

_BROAD = 0.25
"""What a condition that most rows meet counts beside one that few do."""
_KEY = 4
"""Bytes by which texts that a value may begin or end with are looked up."""
Sign = Literal["==", "!=", "startsWith", "endsWith"]
_AFFIX = frozenset({"startsWith", "endsWith"})


Known = int | float | bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """That a name is a value, is another, or begins or ends with it. Texts are in UTF-8."""

    name: syntax.Name
    sign: Sign
    value: Known


class Sieve:
    """Some conditions, each as its conjuncts: all must hold."""

    def __init__(self, conditions: Iterable[Iterable[Node]]) -> None:
        self._columns: dict[str, _Column] = {}
        stages: dict[tuple[str, ...], _Stage] = {}
        wanted = list(conditions)
        self._numbers = range(len(wanted))
        for number, conjuncts in zip(self._numbers, wanted, strict=True):
            for claims in filter(None, map(claims_of, conjuncts)):
                names = tuple(dict.fromkeys(claim.name.name for claim in claims))
                stage = stages.setdefault(names, _Stage(names))
                stage.add(1 << number, self._bits(claims), broad=_breadth(claims)[0])
        self._stages = sorted(stages.values(), key=self._order)

    def passing(self, scope: Scope) -> list[int]:
        """Return the numbers of the conditions that some rows may meet."""
        found: dict[str, int] = {}
        left = (1 << len(self._numbers)) - 1
        for stage in self._stages:
            if left & stage.asking:
                for name in stage.names:
                    if name not in found:
                        found[name] = self._columns[name].true_of(scope)
                left &= ~stage.unmet([found[name] for name in stage.names])
        return [number for number in self._numbers if left >> number & 1]

    def _bits(self, claims: Iterable[Claim]) -> dict[str, int]:
        """Return claims as bits, by column."""
        bits: dict[str, int] = {}
        for claim in claims:
            name = claim.name.name
            column = self._columns.setdefault(name, _Column(claim.name))
            bits[name] = bits.get(name, 0) | column.bit(claim)
        return bits

    def _order(self, stage: "_Stage") -> tuple[bool, float]:
        """Return what puts first what rules out most conditions for each column that is read."""
        columns = [self._columns[name] for name in stage.names]
        read = sum(column.is_read for column in columns)
        return read > 0, -stage.rules_out / max(1, read)


class _Stage:
    """Conditions that need a claim of the same columns to be true, each one or another."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.asking = 0
        """The conditions, a bit for each."""
        self.rules_out = 0.0
        """How many of them no row is likely to meet."""
        self._needs: list[tuple[int, list[int]]] = []

    def add(self, condition: int, claims: Mapping[str, int], *, broad: bool) -> None:
        """Take a condition, by its bit, with its claims by column. broad: most rows meet them."""
        self.asking |= condition
        self.rules_out += _BROAD if broad else 1
        self._needs.append((condition, [claims[name] for name in self.names]))

    def unmet(self, true: Sequence[int]) -> int:
        """Return the conditions of which no claim is true. true: those that are, by column."""
        unmet = 0
        for condition, claims in self._needs:
            if not any(map(and_, claims, true)):
                unmet |= condition
        return unmet


class _Column:
    """What conditions claim of a column, a bit for each claim."""

    def __init__(self, name: syntax.Name) -> None:
        self.is_read = name.kind == "column"
        self._name = name
        self._claims: dict[tuple[str, Known], int] = {}
        self._same: dict[Known, int] = {}
        self._others: list[tuple[Known, int]] = []
        self._begins = _Affixes(last=False)
        self._ends = _Affixes(last=True)

    def bit(self, claim: Claim) -> int:
        """Return the bit of a claim."""
        known = claim.sign, claim.value
        if known not in self._claims:
            self._claims[known] = 1 << len(self._claims)
            self._add(claim, self._claims[known])
        return self._claims[known]

    def _add(self, claim: Claim, bit: int) -> None:
        if claim.sign == "==":
            self._same[claim.value] = bit
        elif claim.sign == "!=":
            self._others.append((claim.value, bit))
        elif isinstance(claim.value, bytes):
            affixes = self._begins if claim.sign == "startsWith" else self._ends
            affixes.add(claim.value, bit)

    def true_of(self, scope: Scope) -> int:
        """Return the bits of the claims that are true of some row."""
        found = 0
        for value in _values(scope.value(self._name)):
            found |= self._same.get(value, 0) | self._begins.of(value) | self._ends.of(value)
            for other, bit in self._others:
                if value != other:
                    found |= bit
        return found


class _Affixes:
    """Texts that others may begin with or, if last, end with; looked up by a few characters."""

    def __init__(self, *, last: bool) -> None:
        self._whether = bytes.endswith if last else bytes.startswith
        self._last = last
        self._tables: dict[tuple[int, int | None], dict[bytes, list[tuple[bytes, int]]]] = {}

    def add(self, text: bytes, bit: int) -> None:
        """Take note of a text that is not empty."""
        size = min(_KEY, len(text))
        part = (-size, None) if self._last else (0, size)
        table = self._tables.setdefault(part, {})
        table.setdefault(text[slice(*part)], []).append((text, bit))

    def of(self, value: Any) -> int:
        """Return the bits of those that a value has."""
        found = 0
        for part, table in self._tables.items():
            for text, bit in table.get(value[slice(*part)], ()):
                if self._whether(value, text):
                    found |= bit
        return found


def _values(vector: Vector) -> Collection[Any]:
    """Return each value once, or more often; texts as bytes."""
    if isinstance(vector, Raw) and vector.plain:
        return vector.distinct[1] if vector.few else set(vector.text.values())
    if isinstance(vector, Numbers) and vector.values.size <= FEW:
        return set(vector.values.ravel().tolist())
    return [each.encode() if isinstance(each, str) else each for each in terms_of(vector).known]


def claims_of(node: Node) -> list[Claim]:
    """Return claims of which one is true where a condition holds; empty: there are none such."""
    claims: list[Claim] = []
    match node:
        case syntax.Either():
            claims = _any_of(map(claims_of, node.operands))
        case syntax.Both():
            claims = min(filter(None, map(claims_of, node.operands)), key=_breadth, default=[])
        case syntax.Compare(operator="==" | "!=" as sign):
            claims = _claim(sign, node.left, node.right) or _claim(sign, node.right, node.left)
        case syntax.Call(function="startsWith" | "endsWith" as function):
            claims = _claim(function, *node.arguments)
        case syntax.In(container=syntax.ListOf(elements=elements)):
            claims = _any_of(_claim("==", node.item, element) for element in elements)
        case syntax.Name(type=types.BOOL):
            claims = [Claim(node, "==", value=True)]
        case _:
            pass
    return claims


def _any_of(alternatives: Iterable[list[Claim]]) -> list[Claim]:
    """Return the claims of all; empty where something else would do as well."""
    each = list(alternatives)
    return [claim for claims in each for claim in claims] if all(each) else []


def _claim(sign: Sign, name: Node, value: Node) -> list[Claim]:
    """Return what is claimed where it is of a name and a value that is written there."""
    if not isinstance(name, syntax.Name) or name.kind == "variable":
        return []
    if not isinstance(value, syntax.Literal):
        return []
    if not isinstance(value.value, str):
        return [Claim(name, sign, value.value)]
    # A backslash may stand for a byte that is no text: see render.decoded.
    if "\\" in value.value or (not value.value and sign in _AFFIX):
        return []
    return [Claim(name, sign, value.value.encode())]


def _breadth(claims: Sequence[Claim]) -> tuple[bool, int]:
    """Return how much is likely to pass: what is not some value, is empty, or either of two."""
    broad = any(
        claim.sign == "!=" or isinstance(claim.value, bool) or not claim.value for claim in claims
    )
    return broad, len(claims)
