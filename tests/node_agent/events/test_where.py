# SPDX-License-Identifier: Apache-2.0
"""A condition on whole columns lets just those rows pass that CEL would, one by one."""

import json
import math
import operator
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout
from eunomia_agent.events.where import evaluation, mask
from eunomia_agent.events.where.scope import Scope
from eunomia_agent.events.where.sieve import Sieve
from eunomia_agent.events.where.vector import Numbers
from eunomia_agent.trackers.catalogue import Column as Described
from eunomia_api.where import Expression, WhereInvalid, parse, pattern, syntax, types

KINDS = {0: "exec", 1: "exit"}
LAYOUT = Layout(
    "event",
    136,
    [
        Column("pid", "tgid_t", "uint", 0, 4),
        Column("fd", "fd_t", "int", 4, 4),
        Column("inode", "inode_t", "uint", 8, 8),
        Column("offset", "s64", "int", 16, 8),
        Column("ratio", "double", "float", 24, 8),
        Column("failed", "bool", "bool", 32, 1),
        Column("kind", "enum kind", "enum", 36, 4, values=KINDS),
        Column("error", "errno_t", "uint", 40, 4),
        Column("flags", "open_flags_t", "uint", 44, 4),
        Column("comm", "comm_t", "chars", 48, 16),
        Column("path", "path_t", "uint", 64, 4),
        Column("args", "args_t", "uint", 68, 4),
        Column("sizes", "u64[3]", "list", 72, 24, count=3),
        Column("address", "ip_t", "bytes", 96, 16),
        Column("duration", "duration_t", "uint", 112, 8),
        Column("load", "percent_t", "uint", 120, 4),
        Column("port", "port_t", "uint", 124, 2, kinds=frozenset({1})),
        Column("name", "string_t", "uint", 128, 4, kinds=frozenset({0})),
    ],
)
OWNER = {
    "namespace": "shop",
    "pod": "cart-0",
    "container": "app",
    "container_id": "0123456789ab",
    "image": "registry.example/cart:1",
    "node": "node-a",
}
TEN = bytes(10) + b"\xff\xff\x0a\0\0\1"
"""10.0.0.1"""
MISSING = Described("gone", "u32", "integer", [], "", "", None, filterable=False)


def described(layout: Layout) -> list[Described]:
    return [
        Described(
            c.name,
            c.meaning,
            c.json_type,
            list(c.values.values()),
            "ns" if c.name == "duration" else "",
            "",
            None,
            filterable=False,
        )
        for c in layout.columns
    ]


COLUMNS = [*described(LAYOUT), MISSING]


def batch_of(rows: Sequence[Mapping[str, Any]]) -> Batch:
    """A batch as the kernel sends it. Texts and addresses are given as bytes."""
    fixed = np.zeros(len(rows), LAYOUT.dtype)
    starts, tail = np.zeros(len(rows), np.uint64), b""
    for number, row in enumerate(rows):
        starts[number] = len(tail)
        offset = LAYOUT.size
        for name, value in row.items():
            if name in ("path", "args", "name"):
                fixed[name][number] = len(value) << 16 | offset if value else 0
                offset += len(value)
                tail += value
            elif name == "address":
                fixed[name][number] = np.void(value)
            else:
                fixed[name][number] = value
    return Batch(LAYOUT, fixed, tail, starts)


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    """The rows as they are written out. What a row lacks is null there."""
    columns = {c.name: [json.loads(x) for x in batch.json(c.name)] for c in LAYOUT.columns}
    return [
        {name: values[number] for name, values in columns.items()} for number in range(len(batch))
    ]


# ---- CEL, one row after the other ----


class NoAnswer(Exception):
    pass


COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
INTS = (types.INT, types.NANOSECONDS, types.DURATION)


def bounded(value: Any, type_: types.Type) -> Any:
    low, high = (0, 2**64) if type_ == types.UINT else (-(2**63), 2**63)
    if type_ in (*INTS, types.UINT) and not low <= value < high:
        raise NoAnswer
    return value


def divided(left: Any, right: Any, sign: str) -> Any:
    if isinstance(left, float):
        if right == 0:
            return (
                math.nan if left == 0 or math.isnan(left) else left * math.copysign(math.inf, right)
            )
        return left / right
    if right == 0:
        raise NoAnswer
    quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    return quotient if sign == "/" else left - quotient * right


def calculated(node: syntax.Arithmetic, row: Mapping[str, Any]) -> Any:
    left, right = (evaluated(part, row) for part in node.parts)
    if node.type == types.STRING:
        return left + right
    left, right = bounded(left, node.type), bounded(right, node.type)
    if node.operator in "/%":
        return bounded(divided(left, right, node.operator), node.type)
    signs = {"+": operator.add, "-": operator.sub, "*": operator.mul}
    return bounded(signs[node.operator](left, right), node.type)


def number_of(kind: type[int] | type[float], value: Any) -> Any:
    if kind is int and isinstance(value, float) and not -(2.0**63) < value < 2.0**63:
        raise NoAnswer
    try:
        return bounded(kind(value), types.INT) if kind is int else float(value)
    except ValueError:
        raise NoAnswer from None


FUNCTIONS = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
    "matches": lambda text, wanted: pattern.compiled(wanted).search(text.encode()) is not None,
    "size": len,
    "string": lambda value: json.dumps(value) if isinstance(value, bool) else str(value),
    "int": lambda value: number_of(int, value),
    "double": lambda value: number_of(float, value),
}


def settled(answers: Sequence[Any], by: bool) -> bool:
    """&& and ||: one that settles it does, whatever happened to the others."""
    error = False
    for answer in answers:
        try:
            if answer() is by:
                return by
        except NoAnswer:
            error = True
    if error:
        raise NoAnswer
    return not by


def evaluated(node: syntax.Node, row: Mapping[str, Any]) -> Any:  # noqa: PLR0911, C901, PLR0912
    match node:
        case syntax.Literal():
            return node.value
        case syntax.Name():
            found = row.get(node.name)
            if found is None:
                raise NoAnswer
            return found
        case syntax.ListOf():
            return [evaluated(each, row) for each in node.elements]
        case syntax.Not():
            return not evaluated(node.operand, row)
        case syntax.Both() | syntax.Either():
            answers = [lambda part=part: evaluated(part, row) for part in node.operands]
            return settled(answers, by=isinstance(node, syntax.Either))
        case syntax.Compare():
            left, right = (evaluated(part, row) for part in node.parts)
            return COMPARE[node.operator](left, right)
        case syntax.In():
            item, container = (evaluated(part, row) for part in node.parts)
            return item in container
        case syntax.Arithmetic():
            return calculated(node, row)
        case syntax.Negative():
            return bounded(-bounded(evaluated(node.operand, row), node.type), node.type)
        case syntax.Conditional():
            chosen = node.yes if evaluated(node.condition, row) else node.no
            return bounded(evaluated(chosen, row), node.type)
        case syntax.Index():
            container, index = (evaluated(part, row) for part in node.parts)
            if not 0 <= index < len(container):
                raise NoAnswer
            return bounded(container[index], node.type)
        case syntax.Call():
            return FUNCTIONS[node.function](*(evaluated(each, row) for each in node.arguments))
        case syntax.Quantifier():
            answers = [
                lambda each=each: evaluated(node.condition, {**row, node.variable: each})
                for each in evaluated(node.range, row)
            ]
            return settled(answers, by=node.function == "exists")
    raise AssertionError(node)


def met(written: str, row: Mapping[str, Any]) -> bool:
    try:
        return evaluated(parse(written, COLUMNS).root, {**row, **OWNER}) is True
    except NoAnswer:
        return False


# ---- rows and expressions ----

TEXTS = [
    b"",
    b"a",
    b"/etc/passwd",
    b"/etc/",
    b"nginx",
    "é".encode(),
    b"\xff\xfe",
    b"\\xff",
    b"1",
    b"-7",
]
NUMBERS = [
    0,
    1,
    2,
    5,
    13,
    255,
    1 << 31,
    (1 << 32) - 1,
    (1 << 53) + 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
]


def clipped(bits: int) -> st.SearchStrategy[int]:
    return st.sampled_from(NUMBERS).map(lambda number: number & ((1 << bits) - 1))


def signed(bits: int) -> st.SearchStrategy[int]:
    return clipped(bits).map(lambda n: n - (1 << bits) if n >> (bits - 1) else n)


ROW = st.fixed_dictionaries(
    {
        "pid": clipped(32),
        "fd": signed(32),
        "inode": clipped(64),
        "offset": signed(64),
        "ratio": st.sampled_from([0.0, -0.5, 1.0, 2.0**53, 2.0**63, 2.0**64, 1e300]),
        "failed": st.booleans(),
        "kind": st.sampled_from([0, 1, 7]),
        "error": st.sampled_from([0, 2, 13, 600]),
        "flags": st.sampled_from([0, 1, 0o101]),
        "comm": st.sampled_from([text[:16] for text in TEXTS]),
        "path": st.sampled_from(TEXTS),
        "args": st.lists(st.sampled_from(TEXTS), max_size=3).map(
            lambda parts: b"".join(part + b"\0" for part in parts)
        ),
        "sizes": st.tuples(*[st.sampled_from([0, 1, 7, (1 << 63) - 1])] * 3),
        "address": st.sampled_from([bytes(15) + b"\1", TEN]),
        "duration": clipped(40),
        "load": st.sampled_from([0, 1234, 10000]),
        "port": clipped(16),
        "name": st.sampled_from(TEXTS),
    }
)

INT_ATOMS = ["pid", "fd", "offset", "inode", "port", "gone", "0", "1", "5", "-7", "4294967295"]
INT_ATOMS += ["9223372036854775807", "-9223372036854775808", "sizes[1]", "sizes[3]", "size(path)"]
INT_ATOMS += ["size(args)", "int(comm)", "int(ratio)", "int(inode)"]
DOUBLE_ATOMS = ["ratio", "load", "double(pid)", "0.0", "1.5", "9007199254740992.0", "double(path)"]
STRING_ATOMS = ["comm", "path", "name", "pod", "args[0]", "address", "flags", "string(pid)"]
STRING_ATOMS += [
    "string(failed)",
    '"a"',
    '"/etc/"',
    '"é"',
    r'"\\xff"',
    '"nginx"',
    '""',
    '"10.0.0.1"',
]


def expressions(depth: int) -> st.SearchStrategy[str]:
    """Conditions; most of them have no wrong types."""
    integers: st.SearchStrategy[str] = st.sampled_from(INT_ATOMS)
    doubles: st.SearchStrategy[str] = st.sampled_from(DOUBLE_ATOMS)
    strings: st.SearchStrategy[str] = st.sampled_from(STRING_ATOMS)
    signs = st.sampled_from(list(COMPARE))
    tests = [
        st.tuples(integers, signs, integers | doubles).map(" ".join),
        st.tuples(doubles, signs, integers | doubles).map(" ".join),
        st.tuples(strings, signs, strings).map(" ".join),
        st.tuples(
            integers, st.sampled_from("+-*/%"), integers, st.sampled_from(["==", "<"]), integers
        ).map(" ".join),
        st.tuples(doubles, st.sampled_from("+-*/"), doubles, signs, doubles).map(" ".join),
        st.tuples(strings, st.just("+"), strings, signs, strings).map(" ".join),
        st.tuples(integers, signs, integers, integers).map(
            lambda t: f"-({t[0]}) {t[1]} (failed ? {t[2]} : {t[3]})"
        ),
        st.tuples(strings, strings, signs, strings).map(
            lambda t: f"(failed ? {t[0]} : {t[1]}) {t[2]} {t[3]}"
        ),
        st.tuples(strings, st.sampled_from(["startsWith", "endsWith", "contains"]), strings).map(
            lambda t: f"{t[0]}.{t[1]}({t[2]})"
        ),
        strings.map(lambda text: f'{text}.matches("^/|x+|.f$")'),
        st.tuples(integers, st.lists(integers, max_size=6)).map(
            lambda t: f"{t[0]} in [{', '.join(t[1])}]"
        ),
        st.tuples(strings, st.lists(strings, max_size=6)).map(
            lambda t: f"{t[0]} in [{', '.join(t[1])}]"
        ),
        strings.map(lambda text: f"{text} in args"),
        integers.map(lambda number: f"{number} in sizes"),
        st.tuples(st.sampled_from(["exists", "all"]), strings).map(
            lambda t: f"args.{t[0]}(a, a.startsWith({t[1]}))"
        ),
        st.tuples(st.sampled_from(["exists", "all"]), integers).map(
            lambda t: f"sizes.{t[0]}(s, 7 / s > {t[1]})"
        ),
        st.sampled_from(
            [
                "failed",
                'kind == "exec"',
                'kind != "7"',
                'error in ["", "ENOENT"]',
                'error != ""',
                'duration > duration("1us")',
                "duration / 2 == 1",
                'args == ["a"]',
                "inode == 18446744073709551615u",
                "args.exists(a, a == comm)",
                "gone == 1 || !(gone == 1)",
                'node > pod && namespace == "shop"',
                "[1, 5].exists(x, x == pid)",
            ]
        ),
    ]
    one = st.one_of(tests)
    if not depth:
        return one
    inner = expressions(depth - 1)
    return one | st.one_of(
        inner.map(lambda e: f"!({e})"),
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]}) ? ({t[1]}) : ({t[2]})"),
    )


@settings(max_examples=600, deadline=None)
@given(st.lists(ROW, max_size=12), expressions(3))
def test_what_passes_is_what_cel_lets_pass_row_by_row(
    rows: list[dict[str, Any]], written: str
) -> None:
    try:
        found = parse(written, COLUMNS)
    except WhereInvalid:
        assume(False)
        raise
    batch = batch_of(rows)
    assert mask(found, batch, OWNER).tolist() == [met(written, row) for row in rows_of(batch)]


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=3), st.lists(expressions(2), max_size=8))
def test_a_condition_that_is_sifted_out_is_met_by_no_row(
    rows: list[dict[str, Any]], written: list[str]
) -> None:
    found: list[Expression] = []
    for each in written:
        with suppress(WhereInvalid):
            found.append(parse(each, COLUMNS))
    batch = batch_of(rows)
    passed = set(Sieve(each.conjuncts for each in found).passing(Scope(batch, OWNER)))
    met_by_some = {n for n, each in enumerate(found) if mask(each, batch, OWNER).any()}
    assert met_by_some <= passed


@pytest.mark.parametrize(
    ("written", "passes"),
    [
        ('path == "/etc/passwd"', True),
        ('"/etc/shadow" == path', False),
        ('path != "/etc/passwd"', True),
        ('path != "/etc/passwd" && path != "/usr/bin/id"', True),
        ('comm != "cat"', False),
        ('path.startsWith("/usr")', True),
        ('path.startsWith("/usr/lib/")', False),
        ('path.startsWith("/e") && path.endsWith("/shadow")', False),
        ('path.endsWith("/id")', True),
        ('path.endsWith("d")', True),
        ('path.endsWith("/passwd/")', False),
        ('path in ["/etc/shadow", "/usr/bin/id"]', True),
        ('path in ["/etc/shadow", "/bin/id"]', False),
        ('path in ["/bin/id", comm]', True),
        ('path.endsWith("/shadow") || comm == "cat"', True),
        ('path.endsWith("/shadow") || comm == "dog"', False),
        ('path.endsWith("/shadow") || size(comm) == 3', True),
        ('size(comm) > 3 && path == "/bin/id"', False),
        ('failed || path.endsWith("/shadow") && pid > 0', False),
        ("failed", False),
        ('address == "10.0.0.1"', True),
        ('address.startsWith("10.0.1.")', False),
        (r'comm == "\\xff"', True),
        ("!failed", True),
        ("pid == 7", True),
        ("pid in [1, 2]", False),
        ('pod == "cart-0"', True),
        ('namespace == "kube-system" && path.startsWith("/")', False),
        ('path.endsWith("") && comm.startsWith("")', True),
        ('args.exists(path, path == "/bin/id")', True),
    ],
)
def test_conditions_are_sifted_by_what_they_name(written: str, passes: bool) -> None:
    rows = [
        {"pid": 7, "comm": b"cat", "path": b"/etc/passwd", "args": b"/bin/id\0"},
        {"pid": 8, "comm": b"cat", "path": b"/usr/bin/id", "address": TEN},
    ]
    sieve = Sieve(
        [parse("failed && !failed", COLUMNS).conjuncts, parse(written, COLUMNS).conjuncts]
    )
    assert list(sieve.passing(Scope(batch_of(rows), OWNER))) == ([1] if passes else [])


def passing(written: str, *rows: Mapping[str, Any]) -> list[int]:
    found = mask(parse(written, COLUMNS), batch_of(rows), OWNER)
    return np.flatnonzero(found).tolist()


@pytest.mark.parametrize(
    ("written", "rows"),
    [
        ("10 / fd == 5", [1]),
        ("10 / fd != 5", [2, 3]),
        ("!(10 / fd == 5)", [2, 3]),
        ("10 / fd == 5 || fd == 0", [0, 1]),
        ("10 / fd == 5 && failed", []),
        ("fd / 2 == -1 && fd % 2 == -1", [2]),
        ("inode > 9223372036854775807u", [3]),
        ("inode == -1 || pid == -1", []),  # though the bits of the one and the other may be these
        ("inode != -1 && pid != -1", [0, 1, 2, 3]),
        ("inode + 1 > 0", [0, 1, 2]),
        ("gone == 1 || fd == 2", [1]),
        ("port == 80", [1]),
        ("port != 80", [3]),
        ('error == "ENOENT"', [2]),
        ('error == "600"', [3]),
        ("load > 12.33 && load < 12.35", [1]),
        ('flags.contains("O_CREAT")', [3]),
        ('address.startsWith("10.0.")', [1]),
        ('node == "node-a" && fd >= 0', [0, 1, 3]),
        ('node == "node-b"', []),
    ],
)
def test_a_row_without_an_answer_does_not_pass_and_stops_no_other(
    written: str, rows: list[int]
) -> None:
    assert (
        passing(
            written,
            {"fd": 0, "inode": 0},
            {"fd": 2, "kind": 1, "port": 80, "load": 1234, "address": TEN},
            {"fd": -3, "error": 2},
            {"fd": 7, "inode": (1 << 64) - 1, "error": 600, "kind": 1, "flags": 0o100},
        )
        == rows
    )


WEB = {**OWNER, "pod_uid": "4f2e", "labels": {"app": "web", "tier": "", "sh": "yes"}}


@pytest.mark.parametrize(
    ("written", "rows"),
    [
        ('labels["app"] == "web"', [0, 1]),
        ('labels.app == "web" && comm == "sh"', [0]),
        ('labels["app"] != "web"', []),
        ('"app" in labels && !("team" in labels)', [0, 1]),
        ('labels["tier"] == "" && size(labels) == 3', [0, 1]),
        ("comm in labels", [0]),
        ('labels[comm] == "yes"', [0]),
        ('labels["app"].matches("^w") && labels.app + comm == "webcat"', [1]),
        ('(comm == "sh" ? labels.app : labels.tier) == "web"', [0]),
        # a label that is not there is no answer, whatever is asked of it
        ('labels["team"] == "a"', []),
        ('labels["team"] != "a"', []),
        ('!(labels.team == "a")', []),
        ('"team" in labels && labels["team"] == "a"', []),
        ('!("team" in labels) || labels["team"] == "a"', [0, 1]),
        ('pod_uid == "4f2e"', [0, 1]),
    ],
)
def test_labels_are_asked_for_by_their_names(written: str, rows: list[int]) -> None:
    batch = batch_of([{"comm": b"sh"}, {"comm": b"cat"}])
    assert np.flatnonzero(mask(parse(written, COLUMNS), batch, WEB)).tolist() == rows


@pytest.mark.parametrize(
    "written", ['"app" in labels', '!("app" in labels)', 'labels.app != "web"', "size(labels) >= 0"]
)
def test_about_labels_that_nobody_knows_there_is_no_answer(written: str) -> None:
    batch = batch_of([{"pid": 1}])
    unknown = {**WEB, "labels": None}
    assert mask(parse(written, COLUMNS), batch, unknown).tolist() == [False]
    assert mask(parse(f"{written} || pid == 1", COLUMNS), batch, unknown).tolist() == [True]


@pytest.mark.parametrize("written", ['labels["app"] == "web"', '"x" in labels', 'labels.no == ""'])
def test_what_is_asked_of_labels_alone_is_asked_once_and_not_of_each_row(written: str) -> None:
    found = evaluation.value(parse(written, COLUMNS).root, Scope(batch_of([{}] * 9), WEB))
    assert isinstance(found, Numbers)
    assert np.ndim(found.values) == np.ndim(found.error) == 0


def test_numbers_above_those_of_an_int_are_looked_for_in_lists() -> None:
    assert passing("inode in sizes || pid == 0", {"inode": 1 << 63}, {"inode": 1 << 63}) == [0, 1]


def test_a_text_is_what_the_row_tells_not_the_bytes_that_came() -> None:
    rows = [{"path": b"\xff"}, {"path": b"\\xff"}, {"path": "é".encode()}, {"path": b"\xc3"}]
    assert passing(r'path == "\\xff"', *rows) == [0, 1]
    assert passing(r'path.startsWith("\\x")', *rows) == [0, 1, 3]
    assert passing("size(path) == 1", *rows) == [2]
    assert passing('path.matches("^.$")', *rows) == [2]


def test_a_name_ends_at_its_first_nul() -> None:
    rows = [{"comm": b"sh\0garbage"}, {"comm": b"sh"}, {"comm": b"sha256sum"}, {"comm": b"x" * 16}]
    assert passing('comm == "sh"', *rows) == [0, 1]
    assert passing('comm.endsWith("sh")', *rows) == [0, 1]
    assert passing('comm.startsWith("sh")', *rows) == [0, 1, 2]
    assert passing(f'comm == "{"x" * 16}"', *rows) == [3]


def test_elements_are_looked_at_in_parts_when_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eunomia_agent.events.where.quantifier.MOST_ELEMENTS", 2)
    rows = [{"args": b"a\0b\0c\0", "comm": b"c"}, {"args": b"", "comm": b"c"}, {"args": b"c\0"}]
    assert passing("args.exists(a, a == comm)", *rows) == [0]
    assert passing("args.all(a, a != comm)", *rows) == [1, 2]


def test_a_hostile_pattern_takes_no_longer_than_its_text() -> None:
    rows = [{"path": b"a" * 4000}] * 10
    began = time.thread_time()
    assert passing('path.matches("(a+)+$|(a|aa)+b")', *rows) == list(range(10))
    assert time.thread_time() - began < 1


def test_nobody_walks_the_rows() -> None:
    count = 100_000
    fixed = np.zeros(count, LAYOUT.dtype)
    fixed["pid"] = np.arange(count)
    paths = [b"/etc/%d" % n if n % 4 else b"/usr/lib/%d.so" % n for n in range(count)]
    lengths = np.array([len(path) for path in paths], np.uint64)
    starts = np.cumsum(lengths) - lengths
    fixed["path"] = lengths << np.uint64(16) | np.uint64(LAYOUT.size)
    batch = Batch(LAYOUT, fixed, b"".join(paths), starts)
    found = parse('path.startsWith("/etc/") && pid >= 50000 && error == ""', COLUMNS)

    began = time.thread_time()
    passed = mask(found, batch, OWNER)
    took = time.thread_time() - began

    assert passed.sum() == 37_500
    assert took < 0.2
