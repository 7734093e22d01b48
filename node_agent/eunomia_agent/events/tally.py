# SPDX-License-Identifier: Apache-2.0
"""Tables that the kernel adds up: their layout, and the reading of one interval.

The other side is bpf/include/tally.h: a key begins with a cgroup and the number of the interval,
the epoch, for which it counts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from eunomia_agent.events.layout import Column, Layout, Source, event_layout, map_layout
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.kernel.errors import ObjectInvalid
from eunomia_agent.kernel.types import Struct

if TYPE_CHECKING:
    from eunomia_agent.events.batch import Batch
    from eunomia_agent.kernel.map import Map

Table = Literal["counts", "histogram", "stacks"]
TABLES: tuple[Table, ...] = ("counts", "histogram", "stacks")
COUNT = "count"
"""The column that says how many events a row stands for."""
EPOCH = "epoch"
_U64 = 8


class TallyLayout(Layout):
    """A row of a table: its key, its value, the time of the reading and the jobs it is for.

    key_size, value_size: bytes of each; the row is both, behind one another, and 16 more.
    """

    def __init__(self, table: Table, key: Layout, value: Layout) -> None:
        self.source = table
        self.key_size, self.value_size = key.size, value.size
        self.epoch = key.column(EPOCH)
        end = key.size + value.size
        behind = [replace(column, offset=column.offset + key.size) for column in value.columns]
        own = [column for column in key.columns if column.name != EPOCH]
        time = Column("time", "boot_ns_t", "uint", end, _U64)
        jobs = Column("jobs", "job_set_t", "uint", end + _U64, _U64)
        super().__init__(table, end + 2 * _U64, [time, jobs, *own, *behind])


def tally_layouts(btf: Btf) -> Mapping[Table, TallyLayout]:
    """Return the layouts of the tables that an object has. Raises ObjectInvalid."""
    return {table: tally_layout(btf, table) for table in TABLES if table in btf.maps()}


def result_layouts(btf: Btf) -> Mapping[Source, Layout]:
    """Return the layouts of all results of a tracker, events first. Raises ObjectInvalid."""
    found: dict[Source, Layout] = {}
    if "events" in btf.maps():
        found["events"] = event_layout(btf)
    for table, layout in tally_layouts(btf).items():
        found[table] = layout
    if not found:
        raise ObjectInvalid(f"has no results: no map called events, {', '.join(TABLES)}")
    return found


def tally_layout(btf: Btf, table: Table) -> TallyLayout:
    """Return a table's layout. Raises ObjectInvalid for one that tally.h would not make."""
    key, value = map_layout(btf, table, "key"), map_layout(btf, table, "value")
    head = [(column.name, column.offset) for column in key.columns[:2]]
    if head != [("cgroup_id", 0), (EPOCH, _U64)]:
        raise ObjectInvalid(f"keys of map {table} do not begin with `struct tallied who`")
    if not value.columns or (value.columns[0].name, value.columns[0].size) != (COUNT, _U64):
        raise ObjectInvalid(f"values of map {table} do not begin with `u64 count`")
    twice = {column.name for column in key.columns} & {column.name for column in value.columns}
    if twice:
        raise ObjectInvalid(f"key and value of map {table} both have {', '.join(sorted(twice))}")
    if _has_hole(btf, btf.maps()[table]["key"]):
        raise ObjectInvalid(f"keys of map {table} have bytes of no member: add one called `pad`")
    return TallyLayout(table, key, value)


def _has_hole(btf: Btf, type_id: int) -> bool:
    """Tell whether a struct has padding, in which equal keys could differ."""
    found = btf.resolve(type_id)[1]
    if not isinstance(found, Struct):
        return False
    end = 0
    for member in found.members:
        if member.bit_offset != end * 8 or _has_hole(btf, member.type_id):
            return True
        end += btf.size(member.type_id)
    return end != found.size


class Tally:
    """One table of a running tracker."""

    def __init__(self, table: "Map", layout: TallyLayout) -> None:
        self.layout = layout
        self._map = table

    def take(self, epochs: "set[int] | None", time_ns: int, jobs: int) -> "Batch":
        """Read the rows of intervals that are over, and take them out of the table.

        epochs: those that are still being added to; time_ns: of the reading, CLOCK_BOOTTIME; jobs:
        the set that the rows are for. Nothing may still be adding to what is taken.
        """
        keys, values = self._map.snapshot()
        return self._rows(keys, values, epochs or set(), None, time_ns, jobs)

    def take_cgroups(self, cgroups: set[int], time_ns: int, jobs: int) -> "Batch":
        """Read and take out all rows of cgroups that are gone: nothing adds to them any more."""
        keys, values = self._map.snapshot()
        return self._rows(keys, values, set(), cgroups, time_ns, jobs)

    def _rows(
        self,
        keys: bytes,
        values: bytes,
        but: set[int],
        cgroups: set[int] | None,
        time_ns: int,
        jobs: int,
    ) -> "Batch":
        import numpy as np  # noqa: PLC0415  (the build reads layouts without it)

        from eunomia_agent.events.batch import Batch  # noqa: PLC0415

        layout = self.layout
        key = np.frombuffer(keys, np.uint8).reshape(-1, layout.key_size)
        value = np.frombuffer(values, np.uint8).reshape(-1, layout.value_size)
        heads = np.frombuffer(keys, _head(layout.key_size))
        chosen = ~np.isin(heads["epoch"], list(but)) if but else np.ones(len(heads), np.bool_)
        if cgroups is not None:
            chosen &= np.isin(heads["cgroup_id"], np.fromiter(cgroups, np.uint64))
        index = np.flatnonzero(chosen)
        taken = key[index]
        raw = np.zeros((len(index), layout.size), np.uint8)
        raw[:, : layout.key_size] = taken
        raw[:, layout.key_size : -2 * _U64] = value[index]
        fixed = raw.reshape(-1).view(layout.dtype)
        fixed["time"], fixed["jobs"] = time_ns, jobs
        self._map.delete_many(taken.tobytes())
        return Batch(layout, fixed, b"", np.zeros(len(index), np.uint64))


def _head(key_size: int) -> Any:
    return {
        "names": ["cgroup_id", "epoch"],
        "formats": ["u8", "u4"],
        "offsets": [0, _U64],
        "itemsize": key_size,
    }
