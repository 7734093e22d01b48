# SPDX-License-Identifier: Apache-2.0
"""What a tracker's maps take up, known before they are made, and how a budget is shared out. Pure.

Sizes as in kernel/bpf/hashtab.c, arraymap.c, ringbuf.c, stackmap.c and lpm_trie.c.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from eunomia_agent.errors import NoMemoryLeft
from eunomia_agent.events.tally import TABLES
from eunomia_agent.kernel.chain import SHARED as CHAIN

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, STACK_TRACE = 1, 2, 5, 6, 7
LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE, RINGBUF = 9, 10, 11, 27
HASHES = frozenset({HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH})
ELEMENT_BYTES = 48
"""`struct htab_elem` before the key."""
TRIE_NODE_BYTES = 40
"""`struct lpm_trie_node` before the key's bits. A node between two others is one more of them."""
BUCKET_BYTES = 16
LEAST_ENTRIES = 64
RING = "events"
SHARED = frozenset({"targets", "runtimes", "refused_calls", *CHAIN})
"""Maps that are the node's, and not the tracker's."""


class Map(Protocol):
    """What is used of a map that is not made yet."""

    @property
    def kind(self) -> int:
        """Its type: enum bpf_map_type."""
        ...

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        ...

    @property
    def value_size(self) -> int:
        """Bytes of a value."""
        ...

    @property
    def max_entries(self) -> int:
        """Entries, or the bytes of a ring buffer."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of each map that the budget decides on, and the bytes that all maps take up."""

    entries: Mapping[str, int]
    total: int


def plan(
    tracker: str,
    maps: Mapping[str, Map],
    budget: int,
    *,
    unused: Collection[str] = (),
    page_bytes: int,
    cpus: int,
) -> Plan:
    """Share a tracker's budget out among its ring and its tables.

    budget: bytes for what is read from the kernel: the rest, such as the accounts, is the same for
    every job, and comes on top in `total`. unused: tables that will stay empty. cpus: possible
    ones. Raises NoMemoryLeft, saying what the least is.
    """
    sized = [name for name in (RING, *TABLES) if name in maps and name not in unused]
    fixed = sum(
        bytes_of(found, found.max_entries, cpus)
        for name, found in maps.items()
        if name not in sized and name not in unused and name not in SHARED
    )
    part = budget // max(1, len(sized))
    entries: dict[str, int] = {}
    for name in sized:
        if name == RING:
            # Its reader maps it twice (libbpf's ringbuf.c), and it counts so in the agent's memory.
            entries[name] = max(page_bytes, _power_of_two(part // 2))
        else:
            entries[name] = part // entry_bytes(maps[name], cpus)
            if entries[name] < LEAST_ENTRIES:
                least = LEAST_ENTRIES * entry_bytes(maps[name], cpus) * len(sized)
                raise NoMemoryLeft(
                    f"{tracker} needs at least {least} bytes for its results, and has {budget};"
                    " raise spec.budget.memoryBytesPerNode, or name fewer trackers"
                )
    total = fixed + sum(
        entries[name] if name == RING else entries[name] * entry_bytes(maps[name], cpus)
        for name in sized
    )
    return Plan({**entries, **{name: 1 for name in unused if name in maps}}, total)


def entry_bytes(table: Map, cpus: int) -> int:
    """Return what an entry of a table takes up in the kernel and, when read, in the agent."""
    return bytes_of(table, 1024, cpus) // 1024 + 2 * (table.key_size + table.value_size)


def bytes_of(found: Map, entries: int, cpus: int) -> int:
    """Return the bytes that a map of so many entries takes up in the kernel."""
    key, value = _padded(found.key_size), _padded(found.value_size)
    if found.kind == RINGBUF:
        return entries
    if found.kind in HASHES:
        each = value * cpus if found.kind in (PERCPU_HASH, LRU_PERCPU_HASH) else value
        return entries * (ELEMENT_BYTES + key + each) + _at_least(entries) * BUCKET_BYTES
    if found.kind == LPM_TRIE:
        return 2 * entries * (TRIE_NODE_BYTES + key + value)
    if found.kind == PERCPU_ARRAY:
        return entries * value * cpus
    return entries * value


def _padded(size: int) -> int:
    return (size + 7) // 8 * 8


def _power_of_two(size: int) -> int:
    """Return the largest power of two that is not above a size."""
    return 1 << (max(1, size).bit_length() - 1)


def _at_least(size: int) -> int:
    """Return the least power of two that is not below a size: the kernel's number of buckets."""
    return 1 << max(0, size - 1).bit_length()
