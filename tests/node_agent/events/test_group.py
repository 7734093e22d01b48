# SPDX-License-Identifier: Apache-2.0
"""Metrics add up the rows that have the same values, and no others."""

from ipaddress import IPv6Address

import numpy as np

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.group import groups
from eunomia_agent.events.layout import Column, Layout

LAYOUT = Layout(
    "event",
    40,
    [
        Column("comm", "comm_t", "chars", 0, 16),
        Column("peer", "ip_t", "bytes", 16, 16),
        Column("bytes", "u64", "uint", 32, 8),
    ],
)


def batch_of(*records: tuple[bytes, str, int]) -> Batch:
    fixed = np.zeros(len(records), LAYOUT.dtype)
    for row, (comm, peer, size) in enumerate(records):
        fixed[row] = (comm, IPv6Address(peer).packed, size)
    return Batch(LAYOUT, fixed, b"", np.zeros(len(records), np.uint64))


def flipped(address: str, *places: int) -> str:
    """Return an address with the highest bit of some of its bytes the other way around."""
    packed = bytearray(IPv6Address(address).packed)
    for place in places:
        packed[place] ^= 0x80
    return str(IPv6Address(bytes(packed)))


def test_rows_of_the_same_values_are_one_group_with_their_sum() -> None:
    rows = batch_of((b"curl", "fd00::1", 3), (b"sh", "fd00::1", 5), (b"curl", "fd00::1", 7))

    assert dict(groups(rows, ["comm", "peer"])) == {("curl", "fd00::1"): 2, ("sh", "fd00::1"): 1}
    assert dict(groups(rows, ["comm"], add="bytes")) == {("curl",): 10, ("sh",): 5}
    assert list(groups(rows, [])) == [((), 3)]


def test_an_address_that_is_made_to_be_taken_for_another_is_not() -> None:
    honest = "fd00:0:0:1::2"
    forged = flipped(honest, 7, 15)
    rows = batch_of((b"a", honest, 1), (b"a", forged, 1), (b"b", "fd00::3", 1), (b"a", honest, 1))

    assert dict(groups(rows, ["peer"])) == {(honest,): 2, (forged,): 1, ("fd00::3",): 1}
    assert dict(groups(rows, ["peer"], add="bytes")) == {
        (honest,): 2,
        (forged,): 1,
        ("fd00::3",): 1,
    }


def test_names_in_two_columns_cannot_be_made_to_hide_a_third_ones_row() -> None:
    forged = flipped("fd00::1", 7)
    names = (b"sh\0\0\0\0\0", b"sh\0\0\0\0\0\x80")
    rows = batch_of((names[0], "fd00::1", 1), (names[1], forged, 1))

    assert sum(count for _, count in groups(rows, ["comm", "peer"])) == 2
    assert len(list(groups(rows, ["comm", "peer"]))) == 2
