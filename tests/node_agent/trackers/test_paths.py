# SPDX-License-Identifier: Apache-2.0
"""What the kernel is asked of paths leaves out no row that a rule is about."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout
from eunomia_agent.events.where import mask
from eunomia_agent.trackers.catalogue import Column as Described
from eunomia_agent.trackers.paths import DISK, PathSet, class_of
from eunomia_agent.trackers.pushdown import NO_ROWS, around, split, variables
from eunomia_agent.trackers.ranges import Range
from eunomia_api.where import parse

KINDS = {1: "open", 2: "create", 11: "mount"}
LAYOUT = Layout(
    "event",
    160,
    [
        Column("kind", "enum kind", "enum", 0, 4, values=KINDS),
        Column("error", "errno_t", "uint", 4, 4),
        Column("writing", "bool", "bool", 8, 1),
        Column("path", "char[64]", "chars", 16, 64),
        Column("filesystem_path", "char[64]", "chars", 80, 64),
    ],
)
COLUMNS = [
    Described(c.name, c.meaning, c.json_type, list(c.values.values()), "", "", None, True)
    for c in LAYOUT.columns
]
FILTERABLE = {column.name: column for column in LAYOUT.columns}
AMONG = {"path": "path", "filesystem_path": "path"}
SHADOW = "/etc/shadow"


def pushed(*rules: str) -> dict[str, Any]:
    return dict(around([parse(rule, COLUMNS).root for rule in rules], FILTERABLE, AMONG))


def entries(content: bytes, form: str) -> Mapping[bytes, int]:
    return {key: value for *_, key, value in struct.iter_unpack(form, content)}


def name_hash(above: int, name: bytes) -> int:
    first = int.from_bytes(name[:8].ljust(8, b"\0"), "little")
    return (above + (first ^ len(name))) * 0x9E3779B97F4A7C15 & 2**64 - 1


def sieve_passes(found: Mapping[str, bytes], own: int, path: bytes) -> bool:
    """sieve_passes() of match_path.h."""
    anywhere, *rest = (n for (n,) in struct.iter_unpack("=I", found["where_path_sieve"]))
    names, folders = rest[:1024], rest[1024:]
    prefixes, _ = struct.unpack("=2I", found["where_path_used"])
    if names[name_hash(0, path.rpartition(b"/")[2]) >> 54] & own:
        return True
    if not prefixes & own or anywhere & own:
        return bool(prefixes & own)
    above = 0
    for folder in path.split(b"/")[1:5]:
        above = name_hash(above, folder)
        on, enough = folders[2 * (above >> 56) : 2 * (above >> 56) + 2]
        if enough & own or not on & own:
            return bool(enough & own)
    return path.count(b"/") >= 4


def kernel_wants(found: Mapping[str, bytes], row: Any) -> bool:
    """within() of match.h, and what access makes of a path by match_path.h."""
    for name in ("kind", "error", "writing"):
        least, most = struct.unpack("=2q", found.get(f"where_{name}", struct.pack("=2q", 0, 99)))
        if not least <= int(row[name]) <= most:
            return False
    if "where_path_used" not in found:
        return True
    paths = [bytes(row["path"])]
    if found.get("where_filesystem_path_as_path") == b"\x01":
        paths.append(bytes(row["filesystem_path"]))
    return any(kernel_wants_path(found, row, path) for path in paths)


def kernel_wants_path(found: Mapping[str, bytes], row: Any, path: bytes) -> bool:
    own = 1 << (int(row["kind"]) & 15 | (16 if row["writing"] else 0))
    (free,) = struct.unpack("=I", found["where_path_free"])
    if not free & own and not sieve_passes(found, own, path):
        return False
    names = entries(found.get("where_path_names", b""), "=64sI")
    last = path.rpartition(b"/")[2].ljust(64, b"\0")
    prefixes = {
        key[: bits // 8]: classes
        for bits, key, classes in struct.iter_unpack(
            "=I256sI", found.get("where_path_prefixes", b"")
        )
    }
    longest = max((p for p in prefixes if (path + b"\0").startswith(p)), key=len, default=None)
    wanted = free | names.get(last, 0) | (prefixes[longest] if longest is not None else 0)
    return bool(wanted & own)


def rows_of(rows: Sequence[tuple[int | bool | str, ...]]) -> Batch:
    """The fifth column is the fourth where there is none."""
    fixed = np.zeros(len(rows), LAYOUT.dtype)
    for number, row in enumerate(rows):
        whole = (*row, row[3]) if len(row) == 4 else row
        for column, value in zip(LAYOUT.columns, whole, strict=True):
            fixed[column.name][number] = value.encode() if isinstance(value, str) else value
    return Batch(LAYOUT, fixed, b"", np.zeros(len(rows), np.uint64))


PATHS = [SHADOW, "/etc/passwd", "/x/etc/shadow", "/etc/shadow/x", "/tmp/a", "/etc", "/"]
PATHS += ["/a/b/c/d/e/f", "/a/b/c/d/other", "/etcetera/passwd"]
ROWS = [
    (kind, error, writing, path)
    for kind in KINDS
    for error in (0, 2)
    for writing in (False, True)
    for path in PATHS
]
MOUNTED = [(*row, other) for row in ROWS for other in (row[3], SHADOW, "/tmp/b")]
_LEAF = st.sampled_from(
    [
        'path == "/etc/shadow"',
        'path.startsWith("/etc/")',
        'path.startsWith("/etc/sh")',
        'path.startsWith("/et")',
        'path.startsWith("/")',
        'path.startsWith("/a/b/c/d/e/")',
        'path.startsWith("/a/b/c/d/")',
        'path == "/"',
        'path.endsWith("/shadow")',
        'path.endsWith("/etc/shadow")',
        'path.contains("tmp")',
        'path in ["/etc/passwd", "/tmp/a"]',
        'filesystem_path.startsWith("/etc/")',
        'filesystem_path.endsWith("/shadow")',
        'kind == "open"',
        'kind != "open"',
        'kind in ["create", "mount"]',
        "writing",
        "!writing",
        'error == ""',
        'error != ""',
        "true",
    ]
)
_RULES = st.recursive(
    _LEAF,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "&&", "||"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        )
        | inner.map(lambda one: f"!({one})")
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_RULES, min_size=1, max_size=4))
def test_no_row_that_a_rule_is_about_is_left_out(rules: list[str]) -> None:
    batch = rows_of(MOUNTED)
    found = variables(pushed(*rules))
    for rule in rules:
        about = mask(parse(rule, COLUMNS), batch, {})
        for row, wanted in zip(batch.fixed, about, strict=True):
            assert not wanted or kernel_wants(found, row), (rule, row)


def test_opens_are_asked_for_by_path_whatever_else_a_policy_looks_at() -> None:
    found = variables(
        pushed(
            'writing && path.endsWith("/release_agent")',
            'path == "/etc/shadow"',
            'kind == "mount" && error == ""',
        )
    )
    seen = [
        (KINDS[row["kind"]], bool(row["writing"]), bytes(row["path"]).decode())
        for row in rows_of(
            [
                (kind, 0, writing, path)
                for kind in (1, 11)
                for writing in (False, True)
                for path in (SHADOW, "/a/release_agent", "/tmp/a")
            ]
        ).fixed
        if kernel_wants(found, row)
    ]
    assert seen == [
        ("open", False, SHADOW),
        ("open", True, SHADOW),
        ("open", True, "/a/release_agent"),
        *[
            ("mount", writing, path)
            for writing in (False, True)
            for path in (SHADOW, "/a/release_agent", "/tmp/a")
        ],
    ]


def test_a_longer_prefix_stands_for_the_shorter_ones_that_it_begins_with() -> None:
    found = variables(pushed('path.startsWith("/etc/")', 'writing && path == "/etc/shadow"'))
    (reads,) = rows_of([(1, 0, False, SHADOW)]).fixed
    assert kernel_wants(found, reads)


def test_a_path_in_other_folders_than_all_that_are_asked_for_is_ruled_out_at_once() -> None:
    found = variables(
        pushed('path.startsWith("/var/log/")', 'path.startsWith("/dev/sd")', 'path == "/a/b/c/d/e"')
    )
    own = 1 << 1
    passed = ["/var/log/x", "/var/log", "/dev/null", "/a/b/c/d/f"]
    ruled_out = ["/var/lib/x", "/logs", "/a/b/c", "/", "/usr/log/x"]
    assert [p for p in passed if sieve_passes(found, own, p.encode())] == passed
    assert not [p for p in ruled_out if sieve_passes(found, own, p.encode())]


def test_rules_about_some_kinds_alone_leave_the_others_out() -> None:
    found = pushed('kind == "create" && writing', 'kind in ["create", "open"] && error == "EPERM"')
    assert (found["kind"], found["writing"]) == (Range(1, 2), Range(0, 1))
    assert "path" not in found
    assert pushed('kind == "open" && kind == "create"') == NO_ROWS


def test_more_paths_than_the_kernel_has_room_for_are_not_asked_for() -> None:
    many = [f'path == "/a/{number}"' for number in range(513)]
    assert pushed(*many).keys() == {"kind", "writing"}
    assert len(pushed(*many[:512])["path"].prefixes) == 512


@pytest.mark.parametrize(
    ("written", "found", "whole"),
    [
        ('path == "/etc/shadow"', PathSet(prefixes=frozenset({b"/etc/shadow\0"})), True),
        ('path.startsWith("/etc/")', PathSet(prefixes=frozenset({b"/etc/"})), True),
        ('path.endsWith("/shadow")', PathSet(names=frozenset({b"shadow"})), True),
        ('path.endsWith("/etc/shadow")', PathSet(names=frozenset({b"shadow"})), False),
        ('path.endsWith("shadow")', None, False),
        ('path.endsWith("/")', None, False),
        ('path.contains("/etc/")', None, False),
        (f'path == "/{"x" * 255}"', None, False),
        (r'path == "/a\\x41"', None, False),
        (
            'path in ["/a", "/b"] || path.endsWith("/c")',
            PathSet(frozenset({b"/a\0", b"/b\0"}), frozenset({b"c"})),
            True,
        ),
        ('path.startsWith("/a/") && path.endsWith("/c")', PathSet(frozenset({b"/a/"})), False),
        (
            'path.startsWith("/a/") || filesystem_path.startsWith("/b/")',
            PathSet(frozenset({b"/a/", b"/b/"}), others=frozenset({"filesystem_path"})),
            False,
        ),
    ],
)
def test_the_kernel_alone_decides_on_paths_only_where_somebody_is_killed_for_them(
    written: str, found: PathSet | None, whole: bool
) -> None:
    expression = parse(written, COLUMNS)
    for alone in (False, True):
        taken, rest = split(expression, FILTERABLE, AMONG, whole_paths=alone)
        assert taken == ({} if found is None else {"path": found})
        assert (rest is None) == (whole and alone)


def test_rules_that_no_row_can_break_ask_for_none_whatever_column_comes_first() -> None:
    root = parse('kind == "open" && kind == "mount"', COLUMNS).root
    path_first = {"path": FILTERABLE["path"], **FILTERABLE}
    assert around([root], path_first, {"path"}) == NO_ROWS


def test_who_asks_for_disks_gets_no_other_open() -> None:
    file_type = Column("file_type", "file_type_t", "uint", 12, 4)
    filterable = {**FILTERABLE, "file_type": file_type}
    columns = [*COLUMNS, Described("file_type", "file_type_t", "string", [], "", "", None, True)]
    rules = ('kind == "open" && file_type == "block"', 'kind == "open" && path == "/etc/shadow"')
    roots = [parse(rule, columns).root for rule in rules]
    found = around(roots, filterable, AMONG)

    assert variables({"path": found["path"]})["where_path_free"] == struct.pack(
        "=I", class_of(DISK, writing=False) | class_of(DISK, writing=True)
    )
    assert found["file_type"] == Range(0, 0o170000)
    assert around(roots[:1], filterable, AMONG)["file_type"] == Range(0o060000, 0o060000)
    assert split(parse(rules[0], columns), filterable, AMONG)[0] == {
        "kind": Range(1, 1),
        "file_type": Range(0o060000, 0o060000),
    }
