# SPDX-License-Identifier: Apache-2.0
"""Maps in the real kernel."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.map import possible_cpus
from eunomia_agent.kernel.object import Object

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make BPF maps"),
]

MAPS = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10000);
     __type(key, u64); __type(value, u64); } numbers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
     __type(key, u64); __type(value, u64); } others SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
     __type(key, u32); __type(value, u64); } narrow SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 3);
     __type(key, u32); __type(value, u32); } each_cpu SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096);
     __type(value, u64); } ring SEC(".maps");
"""


@pytest.fixture
def maps(compile_bpf: Callable[[str], Path]) -> Iterator[Object]:
    with Object.open(compile_bpf(MAPS)) as found:
        yield found


def number(value: int) -> bytes:
    return struct.pack("=Q", value)


def test_entries_are_set_found_and_removed(maps: Object) -> None:
    maps.load()
    numbers = maps.map("numbers")

    assert numbers.lookup(number(1)) is None
    numbers.update(number(1), number(11))
    numbers.update(number(1), number(10))
    assert numbers.lookup(number(1)) == number(10)
    assert not numbers.insert(number(1), number(12))
    assert numbers.insert(number(2), number(20))
    assert numbers.delete(number(2))
    assert dict(numbers.items()) == {number(1): number(10)}
    assert numbers.delete(number(1))
    assert not numbers.delete(number(1))
    assert list(numbers.items()) == []


def test_a_snapshot_holds_every_entry_once_however_many_there_are(maps: Object) -> None:
    maps.load()
    numbers = maps.map("numbers")
    for value in range(9_999):
        numbers.update(number(value), number(value * 2))

    keys, values = numbers.snapshot()

    found = dict(zip(struct.iter_unpack("=Q", keys), struct.iter_unpack("=Q", values), strict=True))
    assert found == {(value,): (value * 2,) for value in range(9_999)}


def test_a_full_map_says_so(maps: Object) -> None:
    maps.load()
    others = maps.map("others")
    for value in range(8):
        others.update(number(value), number(0))

    with pytest.raises(KernelError, match="map others of test: cannot be written: Argument list"):
        others.update(number(8), number(0))


def test_a_value_per_cpu_is_one_padded_number_for_each(maps: Object) -> None:
    maps.load()
    each_cpu = maps.map("each_cpu")
    width = 8 * possible_cpus()

    assert each_cpu.per_cpu
    assert each_cpu.lookup(bytes(4)) == bytes(width)
    keys, values = each_cpu.snapshot()
    assert keys == struct.pack("=3I", 0, 1, 2)
    assert values == bytes(3 * width)


def test_one_map_stands_for_another_of_the_same_shape_only(
    maps: Object, compile_bpf: Callable[[str], Path]
) -> None:
    maps.load()
    with Object.open(compile_bpf(MAPS)) as second:
        with pytest.raises(KernelError, match="cannot stand for map numbers"):
            second.map("narrow").reuse(maps.map("numbers"))
        second.map("numbers").reuse(maps.map("numbers"))
        second.load()
        second.map("numbers").update(number(7), number(70))
        assert second.map("numbers").id == maps.map("numbers").id
    assert maps.map("numbers").lookup(number(7)) == number(70)


@pytest.mark.parametrize("size", [0, 100, 4095, 12288, 3 * 4096])
def test_a_ring_of_an_odd_size_is_refused_before_the_kernel_does(maps: Object, size: int) -> None:
    with pytest.raises(KernelError, match="a power of two of bytes, at least 4096"):
        maps.map("ring").resize(size)


def test_sizes_of_keys_and_values_are_minded(maps: Object) -> None:
    maps.load()
    with pytest.raises(KernelError, match="a key has 8 bytes, not 4"):
        maps.map("numbers").lookup(bytes(4))
    with pytest.raises(KernelError, match="a value has 8 bytes, not 9"):
        maps.map("numbers").update(bytes(8), bytes(9))


def test_a_map_that_is_not_loaded_says_so(maps: Object) -> None:
    with pytest.raises(KernelError, match="map numbers of test is not loaded"):
        maps.map("numbers").lookup(bytes(8))
