# SPDX-License-Identifier: Apache-2.0
"""Batches: columns, parts of them, and the bytes behind the records."""

import numpy as np
import pytest

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout

LAYOUT = Layout(
    "event",
    32,
    [
        Column("number", "u64", "uint", 0, 8),
        Column("comm", "comm_t", "chars", 8, 16),
        Column("path", "path_t", "uint", 24, 4),
        Column("args", "args_t", "uint", 28, 4),
    ],
)


def batch_of(*records: tuple[int, bytes, bytes, bytes]) -> Batch:
    """Build a batch as gather.c would."""
    fixed = np.zeros(len(records), LAYOUT.dtype)
    starts, tail = np.zeros(len(records), np.uint64), b""
    for row, (number, comm, path, args) in enumerate(records):
        starts[row] = len(tail)
        offset = LAYOUT.size
        references: list[int] = []
        for part in (path, args):
            references.append(len(part) << 16 | offset if part else 0)
            offset += len(part)
        fixed[row] = (number, comm, *references)
        tail += path + args
    return Batch(LAYOUT, fixed, tail, starts)


@pytest.fixture
def batch() -> Batch:
    return batch_of(
        (0, b"sh", b"/bin/sh", b"sh\0-c\0"),
        (1, b"quiet", b"", b""),
        (2, b"0123456789abcdef", b"", b"x"),
        (3, b"ls", b"/bin/ls", b""),
    )


def test_each_record_finds_its_own_bytes(batch: Batch) -> None:
    assert batch.bytes_of("path") == [b"/bin/sh", b"", b"", b"/bin/ls"]
    assert batch.bytes_of("args") == [b"sh\0-c\0", b"", b"x", b""]
    assert batch.text("comm") == ["sh", "quiet", "0123456789abcdef", "ls"]
    assert batch.json("number") == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "rows", [[3, 0], np.array([3, 0]), slice(3, None, -3), np.array([True, False, False, True])]
)
def test_a_part_holds_what_was_asked_for(batch: Batch, rows: object) -> None:
    part = batch.take(rows)  # type: ignore[arg-type]

    assert sorted(part.text("path")) == ["/bin/ls", "/bin/sh"]
    assert part.text("comm") == [{"0": "sh", "3": "ls"}[n] for n in part.json("number")]


def test_split_by_a_number_keeps_every_record_once_and_in_order() -> None:
    numbers = [7, 3, 7, 2**63, 3, 7]
    batch = batch_of(*((number, b"", b"/%d" % at, b"") for at, number in enumerate(numbers)))

    assert [(number, part.text("path")) for number, part in batch.split("number")] == [
        (3, ["/1", "/4"]),
        (7, ["/0", "/2", "/5"]),
        (2**63, ["/3"]),
    ]
    ((number, only),) = batch.take([0, 2]).split("number")
    assert (number, only.text("path")) == (7, ["/0", "/2"])
    assert list(Batch.empty(LAYOUT).split("number")) == []


def test_a_compact_part_keeps_no_others_bytes(batch: Batch) -> None:
    part = batch.take([2, 3])
    compact = part.compact()

    assert compact.records() == part.records()
    assert compact.text("args") == ["x", ""]
    assert compact.text("path") == ["", "/bin/ls"]
    assert compact.tail == b"x/bin/ls"
    assert compact.nbytes < part.nbytes


def test_records_are_the_bytes_that_came(batch: Batch) -> None:
    first = batch.records()[0]

    assert len(first) == 32 + len(b"/bin/shsh\0-c\0")
    assert first[32:] == b"/bin/shsh\0-c\0"


def test_nothing_is_a_batch_too() -> None:
    empty = Batch.empty(LAYOUT)

    assert len(empty) == 0
    assert empty.text("path") == empty.records() == []
    assert len(empty.take([]).compact()) == 0


def test_a_reference_into_the_fixed_part_or_past_the_end_is_harmless() -> None:
    batch = batch_of((0, b"", b"abc", b""))
    batch.fixed["path"] = 100 << 16 | 4

    assert batch.bytes_of("path") == [b""]
    batch.fixed["path"] = 100 << 16 | 33
    assert batch.bytes_of("path") == [b"bc"]
