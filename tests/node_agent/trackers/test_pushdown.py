# SPDX-License-Identifier: Apache-2.0
"""What the kernel decides of a condition changes where it is decided, never what passes."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eunomia_agent.events import names
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout
from eunomia_agent.events.where import mask
from eunomia_agent.trackers.catalogue import Column as Described
from eunomia_agent.trackers.pushdown import Condition, split, variables
from eunomia_agent.trackers.ranges import LEAST, MOST
from eunomia_api.where import Expression, parse

LAYOUT = Layout(
    "event",
    72,
    [
        Column("pid", "tgid_t", "uint", 0, 4),
        Column("fd", "fd_t", "int", 4, 4),
        Column("inode", "inode_t", "uint", 8, 8),
        Column("offset", "s64", "int", 16, 8),
        Column("failed", "bool", "bool", 24, 1),
        Column("kind", "enum kind", "enum", 28, 4, values={0: "exec", 1: "exit", 2: "fork"}),
        Column("error", "errno_t", "uint", 32, 4),
        Column("signal", "signal_t", "uint", 36, 4),
        Column("comm", "comm_t", "chars", 40, 16),
        Column("uid", "uid_t", "uint", 56, 4),
        Column("port", "port_t", "uint", 60, 2, kinds=frozenset({1})),
        Column("call", "syscall_t", "int", 64, 4),
        Column("spaces", "enum space_flags", "flags", 68, 4, values={1: "mnt", 2: "net", 4: "t"}),
    ],
)
COLUMNS = [
    Described(c.name, c.meaning, c.json_type, list(c.values.values()), "", "", None, True)
    for c in LAYOUT.columns
]
FILTERABLE = {column.name: column for column in LAYOUT.columns if column.name != "uid"}
AMONG = {"call"}
TOO_MANY = json.dumps([names.SYSCALLS[number] for number in range(0, 34, 2)])
READ, WRITE, CLOSE = (f'"{names.SYSCALLS[number]}"' for number in (0, 1, 3))


def batch_of(*rows: Mapping[str, Any]) -> Batch:
    fixed = np.zeros(len(rows), LAYOUT.dtype)
    for number, row in enumerate(rows):
        for name, value in row.items():
            fixed[name][number] = value
    return Batch(LAYOUT, fixed, b"", np.zeros(len(rows), np.uint64))


def within(condition: bytes, value: int) -> bool:
    """within() of bpf/include/match.h: any integer as s64."""
    least, most = struct.unpack("=2q", condition)
    (as_s64,) = struct.unpack("=q", struct.pack("=Q", value & (1 << 64) - 1))
    return bool(least <= as_s64 <= most)


def among(condition: bytes, value: int) -> bool:
    """among() of bpf/include/match.h."""
    count, *values = struct.unpack("=Q16q", condition)
    return value in values[:count]


def has_flags(condition: bytes, value: int) -> bool:
    """has_flags() of bpf/include/match.h."""
    (wanted,) = struct.unpack("=I", condition)
    return value & wanted == wanted


def comm_wanted(condition: bytes, comm: bytes) -> bool:
    """comm_wanted() of bpf/include/match.h."""
    length, exact, wanted = struct.unpack("=2I16s", condition)
    padded = comm.ljust(16, b"\0")
    return padded[:length] == wanted[:length] and not (exact and length < 16 and padded[length])


def kernel_passes(pushed: Mapping[str, Condition], row: Any) -> bool:
    for variable, content in variables(pushed).items():
        name = variable.split("_", 1)[1]
        if name == "port" and row["kind"] != 1:
            continue  # such an event has no port, and nothing is asked about it
        check = {"comm": comm_wanted, "spaces": has_flags}.get(name, within)
        if not (among if variable.startswith("among_") else check)(content, row[name].item()):
            return False
    return True


def decided(written: str) -> tuple[dict[str, tuple[Any, ...]], bool]:
    """What is pushed, and whether the agent has something left to decide."""
    pushed, rest = split(parse(written, COLUMNS), FILTERABLE, among=AMONG)
    form = {"where_comm": "=2I16s", "among_call": "=Q16q", "where_spaces": "=I"}
    return {
        name: struct.unpack(form.get(name, "=2q"), content)
        for name, content in variables(pushed).items()
    }, rest is not None


@pytest.mark.parametrize(
    ("written", "pushed", "more"),
    [
        ("pid == 7", {"where_pid": (7, 7)}, False),
        ("7 < pid && pid <= 9", {"where_pid": (8, 9)}, False),
        ("pid > 5", {"where_pid": (6, 2**32 - 1)}, False),
        ("pid != 0", {"where_pid": (1, 2**32 - 1)}, False),
        ("pid != 5", {}, True),
        ("pid in [3, 4, 5]", {"where_pid": (3, 5)}, False),
        ("pid in [3, 5]", {"where_pid": (3, 5)}, True),
        ("pid == 3 || pid == 5", {"where_pid": (3, 5)}, True),
        ("fd < 0", {"where_fd": (-(2**31), -1)}, False),
        ("failed", {"where_failed": (1, 1)}, False),
        ("!failed", {"where_failed": (0, 0)}, False),
        ("failed != true", {"where_failed": (0, 0)}, False),
        ('kind == "exit"', {"where_kind": (1, 1)}, False),
        ('kind in ["exec", "exit"]', {"where_kind": (0, 1)}, False),
        ('error == "ENOENT"', {"where_error": (2, 2)}, False),
        ('error != ""', {"where_error": (1, 2**32 - 1)}, False),
        ('error == "600"', {"where_error": (600, 600)}, False),
        ('error == "2"', {}, True),
        ('signal == "SIGKILL"', {"where_signal": (9, 9)}, False),
        # as s64, what is above 2^63-1 would be negative
        ("inode > 5", {}, True),
        ("inode < 5", {"where_inode": (0, 4)}, False),
        ("offset >= -9223372036854775808", {"where_offset": (LEAST, MOST)}, False),
        ("offset < -9223372036854775808", {}, True),
        ('comm == "sh"', {"where_comm": (2, 1, b"sh".ljust(16, b"\0"))}, False),
        ('comm.startsWith("py")', {"where_comm": (2, 0, b"py".ljust(16, b"\0"))}, False),
        (
            'comm.startsWith("p") && comm == "py"',
            {"where_comm": (2, 1, b"py".ljust(16, b"\0"))},
            False,
        ),
        (
            'comm.startsWith("a") && comm == "b"',
            {"where_comm": (1, 0, b"a".ljust(16, b"\0"))},
            True,
        ),
        (r'comm == "\\xff"', {}, True),
        ('comm == "0123456789abcdef"', {}, True),
        ('comm != "sh" && comm.endsWith("x")', {}, True),
        # of another kind, an event has no port: the kernel lets it pass, and the agent does not
        ("port == 80", {"where_port": (80, 80)}, True),
        # the object has no variable for it
        ("uid == 0 && pid == 7", {"where_pid": (7, 7)}, True),
        (
            "(pid == 5 && fd > 3) || (pid == 7 && fd == 2)",
            {"where_pid": (5, 7), "where_fd": (2, 2**31 - 1)},
            True,
        ),
        ("pid == 5 || fd == 5", {}, True),
        ("!(pid == 5)", {}, True),
        ("pid + 1 == 5", {}, True),
        ("pid < 0", {"where_pid": (0, -1)}, False),
        # no number without a sign is one below 0, whose bits it may have
        ("pid == -1", {"where_pid": (1, 0)}, False),
        ("inode == -1", {"where_inode": (1, 0)}, False),
        ("fd == -1", {"where_fd": (-1, -1)}, False),
        ("true", {}, True),
        # the object takes single values of this one
        (
            f"call in [{READ}, {CLOSE}]",
            {"where_call": (0, 3), "among_call": (2, 0, 3, *[0] * 14)},
            False,
        ),
        (
            f"call == {READ} || call in [{WRITE}, {CLOSE}]",
            {"where_call": (0, 3), "among_call": (3, 0, 1, 3, *[0] * 13)},
            False,
        ),
        (f"call in [{READ}, {CLOSE}] && call == {CLOSE}", {"where_call": (3, 3)}, False),
        (f"call in [{READ}, {CLOSE}] && call == {WRITE}", {"where_call": (1, 0)}, False),
        (f"call in [{READ}, {WRITE}]", {"where_call": (0, 1)}, False),
        (f"call in {TOO_MANY}", {"where_call": (0, 32)}, True),
        ('spaces.contains("net")', {"where_spaces": (2,)}, False),
        ('spaces.contains("net") && spaces.contains("mnt")', {"where_spaces": (3,)}, False),
        ('spaces.contains("t")', {}, True),  # so is each of the others
        ('spaces.contains("ne")', {}, True),
        ('spaces == "net"', {}, True),
    ],
)
def test_the_kernel_decides_what_one_range_a_column_can_say(
    written: str, pushed: dict[str, tuple[Any, ...]], more: bool
) -> None:
    assert decided(written) == (pushed, more)


NUMBERS = [0, 1, 2, 3, 9, 80, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1]
NAMES = ["", "a", "ab", "abc", "x" * 15]
ROW = st.fixed_dictionaries(
    {
        "pid": st.sampled_from([n & 0xFFFFFFFF for n in NUMBERS]),
        "fd": st.sampled_from([-(2**31), -1, 0, 1, 2**31 - 1]),
        "inode": st.sampled_from(NUMBERS),
        "offset": st.sampled_from([LEAST, -1, 0, 1, MOST]),
        "failed": st.booleans(),
        "kind": st.sampled_from([0, 1, 2, 7]),
        "error": st.sampled_from([0, 1, 2, 600]),
        "signal": st.sampled_from([0, 9, 15]),
        "comm": st.sampled_from([name.encode() for name in NAMES]),
        "uid": st.sampled_from([0, 1]),
        "port": st.sampled_from([0, 80]),
        "call": st.sampled_from([0, 1, 2, 3, 60]),
        "spaces": st.sampled_from([0, 1, 2, 3, 6, 7]),
    }
)
_integer = st.tuples(
    st.sampled_from(["pid", "fd", "inode", "offset", "port", "uid"]),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from([*map(str, NUMBERS[:-1]), "18446744073709551615u", "-1", str(LEAST), "1.5"]),
)
_LEAF = st.one_of(
    _integer.map(" ".join),
    _integer.map(lambda parts: f"{parts[2]} {parts[1]} {parts[0]}"),
    st.lists(st.sampled_from(["0", "1", "2", "3", "9"]), max_size=4).map(
        lambda values: f"pid in [{', '.join(values)}]"
    ),
    st.tuples(
        st.sampled_from(["==", "!="]), st.sampled_from(["", "EPERM", "ENOENT", "600", "2"])
    ).map(lambda parts: f'error {parts[0]} "{parts[1]}"'),
    st.sampled_from(["exec", "exit", "fork", "7"]).map(lambda name: f'kind == "{name}"'),
    st.sets(st.sampled_from([0, 1, 3, 60]), min_size=1).map(
        lambda numbers: f"call in {json.dumps([names.SYSCALLS[n] for n in sorted(numbers)])}"
    ),
    st.sampled_from(["mnt", "net", "t", "n"]).map(lambda name: f'spaces.contains("{name}")'),
    st.sampled_from(NAMES).map(lambda name: f'comm == "{name}"'),
    st.sampled_from(NAMES).map(lambda name: f'comm.startsWith("{name}")'),
    st.sampled_from(["failed", "!failed", "failed == false", 'signal == "SIGKILL"', "1 / fd > 0"]),
)
_EXPRESSIONS: st.SearchStrategy[str] = st.recursive(
    _LEAF,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "&&", "||"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        )
        | inner.map(lambda one: f"!({one})")
    ),
    max_leaves=8,
)


@settings(max_examples=600, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=16), _EXPRESSIONS)
def test_pushing_changes_no_result(rows: list[dict[str, Any]], written: str) -> None:
    batch = batch_of(*rows)
    expression: Expression = parse(written, COLUMNS)
    pushed, rest = split(expression, FILTERABLE, among=AMONG)

    passed = np.array([kernel_passes(pushed, row) for row in batch.fixed])
    if rest is not None:
        passed[passed] = mask(rest, batch.take(passed), {})

    assert passed.tolist() == mask(expression, batch, {}).tolist()
