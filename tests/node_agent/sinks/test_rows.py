# SPDX-License-Identifier: Apache-2.0
"""Rows of a batch, as they stand in files and logs."""

import json
from dataclasses import replace

import numpy as np
import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout
from eunomia_agent.sinks.rows import Rows

LAYOUT = Layout(
    "event",
    72,
    [
        Column("time", "boot_ns_t", "uint", 0, 8),
        Column("cgroup_id", "cgroup_id_t", "uint", 8, 8),
        Column("jobs", "job_set_t", "uint", 16, 8),
        Column("start_time", "boot_ns_t", "uint", 24, 8),
        Column("pid", "tgid_t", "uint", 32, 4),
        Column("tid", "tid_t", "uint", 36, 4),
        Column("uid", "uid_t", "uint", 40, 4),
        Column("subject_flags", "u32", "uint", 44, 4),
        Column("comm", "comm_t", "chars", 48, 16),
        Column("fd", "fd_t", "int", 64, 4),
        Column("path", "path_t", "uint", 68, 4),
    ],
)
NOON = 1_738_324_800 * 10**9


def opens(*rows: tuple[int, bytes, int, bytes]) -> Batch:
    """Make a batch of (time, comm, fd, path)."""
    fixed = np.zeros(len(rows), LAYOUT.dtype)
    starts = np.zeros(len(rows), np.uint64)
    tail = b""
    for number, (time, comm, fd, path) in enumerate(rows):
        starts[number] = len(tail)
        fixed[number] = (time, 7, 1, 3, 41, 42, 1000, 0, comm, fd, len(path) << 16 | LAYOUT.size)
        tail += path
    return Batch(LAYOUT, fixed, tail, starts)


def test_row_tells_when_where_who_and_what_in_this_order(web: Owner) -> None:
    batch = opens((1, b"nginx", 5, b"/etc/hosts"), (10**9, b"nginx", -2, b""))
    rows = Rows(batch, web, "opensnoop", node="n1", offset_ns=NOON)
    assert list(rows.json()) == [
        b'{"time":"2025-01-31T12:00:00.000000001Z","node":"n1","namespace":"shop","pod":"web-0",'
        b'"container":"nginx","container_id":"1b1b1b1b1b1b","tracker":"opensnoop","comm":"nginx",'
        b'"pid":41,"tid":42,"uid":1000,"fd":5,"path":"/etc/hosts"}',
        b'{"time":"2025-01-31T12:00:01.000000000Z","node":"n1","namespace":"shop","pod":"web-0",'
        b'"container":"nginx","container_id":"1b1b1b1b1b1b","tracker":"opensnoop","comm":"nginx",'
        b'"pid":41,"tid":42,"uid":1000,"fd":-2,"path":""}',
    ]


def test_conditions_know_the_api_server_and_rows_do_not_tell_of_it(web: Owner) -> None:
    rows = Rows(opens((1, b"sh", 3, b"/")), web, "t", node="n1", kubernetes_api="10.96.0.1")
    part = rows.take(np.array([True]))
    assert part.constants["kubernetes_api"] == rows.constants["kubernetes_api"] == "10.96.0.1"
    assert b"10.96.0.1" not in b"".join(rows.json())


@pytest.mark.parametrize("kind", ["host", "unknown"])
def test_row_of_no_container_says_so(kind: str) -> None:
    owner = Owner(1, kind)
    (row,) = Rows(opens((1, b"sh", 3, b"/")), owner, "t", node="n", offset_ns=0).json()
    told = json.loads(row)
    assert told["owner"] == kind
    assert [told[key] for key in ("namespace", "pod", "container", "container_id")] == [""] * 4


def test_hostile_names_stay_inside_their_strings(web: Owner) -> None:
    evil = b'%s%(x)d","pid":0}\n\x1b[2J\x00\xff\xe2\x80\xae'
    owner = replace(web, namespace="%d", pod='"}\n', container="\x1b")
    (row,) = Rows(opens((1, b'%s"\n', 3, evil)), owner, "opensnoop", node="%n", offset_ns=0).json()
    assert row.isascii()
    assert not any(byte < 0x20 for byte in row), "no control character, and no newline"
    told = json.loads(row)
    assert told["comm"] == '%s"\n'
    assert told["path"] == '%s%(x)d","pid":0}\n\x1b[2J\x00\\xff\u202e'
    assert (told["node"], told["namespace"], told["pod"], told["container"]) == (
        "%n",
        "%d",
        '"}\n',
        "\x1b",
    )
    assert told["pid"] == 41


def test_batch_of_nothing_is_no_rows(web: Owner) -> None:
    assert list(Rows(opens(), web, "t", node="n").json()) == []


def test_part_of_the_rows_is_the_same_lines_whoever_renders_first(web: Owner) -> None:
    batch = opens(*((number, b"sh", number, b"/x" * number) for number in range(10)))
    lines = list(Rows(batch, web, "opensnoop", node="n1", offset_ns=NOON).json())
    for index in ([1, 4, 9], [0], [9, 0], list(range(10)), list(range(1, 10)), []):
        rows = Rows(batch, web, "opensnoop", node="n1", offset_ns=NOON)
        part = rows.take(np.array(index, dtype=np.intp))
        assert len(part) == len(index)
        assert list(part.json()) == [lines[number] for number in index]
        assert list(rows.json()) == lines
        assert list(rows.take(slice(2, 4)).json()) == lines[2:4]


def test_aggregate_says_what_it_sums_up_and_over_how_long(web: Owner) -> None:
    layout = Layout(
        "count",
        24,
        [
            Column("time", "boot_ns_t", "uint", 0, 8),
            Column("cgroup_id", "cgroup_id_t", "uint", 8, 8),
            Column("count", "u64", "uint", 16, 8),
        ],
    )
    batch = Batch(layout, np.array([(1, 7, 42)], layout.dtype), b"", np.zeros(1, np.uint64))
    rows = Rows(batch, web, "syscall", node="n1", source="counts", interval=1.5, offset_ns=NOON)
    assert list(rows.json()) == [
        b'{"time":"2025-01-31T12:00:00.000000001Z","node":"n1","namespace":"shop","pod":"web-0",'
        b'"container":"nginx","container_id":"1b1b1b1b1b1b","tracker":"syscall",'
        b'"source":"counts","interval":1.5,"count":42}'
    ]
