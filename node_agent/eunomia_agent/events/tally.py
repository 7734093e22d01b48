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
    import numpy as np
    from numpy.typing import NDArray

    from eunomia_agent.events.batch import Batch
    from eunomia_agent.kernel.map import Map

Table = Literal["counts", "histogram", "stacks"]
TABLES: tuple[Table, ...] = ("counts", "histogram", "stacks")
COUNT = "count"
"""The column that says how many events a row stands for."""
EPOCH = "epoch"
STACKS = frozenset({"kernel_stack_t", "user_stack_t"})
TRACES = "stack_traces"
"""The map with the stacks that rows of `stacks` name."""
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
        own = [_shown(column) for column in key.columns if column.name != EPOCH]
        time = Column("time", "boot_ns_t", "uint", end, _U64)
        jobs = Column("jobs", "job_set_t", "uint", end + _U64, _U64)
        super().__init__(table, end + 2 * _U64, [time, jobs, *own, *behind])


def _shown(column: Column) -> Column:
    """Return a column of ids of stacks as what is put in their place: see stacks.resolve."""
    if column.meaning in STACKS:
        return replace(column, meaning="stack_t", kind="uint")
    return column


def tally_layouts(btf: Btf) -> Mapping[Table, TallyLayout]:
    """Return the layouts of the tables that an object has. Raises ObjectInvalid."""
    return {table: tally_layout(btf, table) for table in TABLES if table in btf.maps()}


def result_layouts(btf: Btf) -> Mapping[Source, Layout]:
    """Return the layouts of all results of a tracker, events first. Raises ObjectInvalid."""
    events: dict[Source, Layout] = {"events": event_layout(btf)} if "events" in btf.maps() else {}
    found = events | dict[Source, Layout](tally_layouts(btf).items())
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

    def __init__(self, table: "Map", layout: TallyLayout, traces: "Map | None" = None) -> None:
        self.layout = layout
        self._map = table
        self._traces = traces
        self._stacks = [each.name for each in layout.columns if each.meaning == "stack_t"]

    def take(self, epoch: int, time_ns: int, jobs: int) -> "Batch":
        """Read the rows of all intervals but one, and take them out of the table.

        epoch: the interval that is still being added to; to the others nothing may be. time_ns: of
        the reading, CLOCK_BOOTTIME; jobs: the set that the rows are for.
        """
        keys, values = self._map.snapshot()
        heads = self._heads(keys)
        return self._taken(keys, values, heads["epoch"] != epoch, time_ns, jobs)

    def take_cgroups(self, cgroups: set[int], time_ns: int, jobs: int) -> "Batch":
        """Read and take out all rows of cgroups that are gone: nothing adds to them any more."""
        import numpy as np  # noqa: PLC0415  (the build reads layouts without it)

        keys, values = self._map.snapshot()
        gone = np.fromiter(cgroups, np.uint64)
        chosen = np.isin(self._heads(keys)["cgroup_id"], gone)
        return self._taken(keys, values, chosen, time_ns, jobs)

    def _heads(self, keys: bytes) -> "NDArray[Any]":
        """Return what all keys begin with, `struct tallied`: shape (n,)."""
        import numpy as np  # noqa: PLC0415

        head = np.dtype(
            {
                "names": ["cgroup_id", "epoch"],
                "formats": ["u8", "u4"],
                "offsets": [0, _U64],
                "itemsize": self.layout.key_size,
            }
        )
        return np.frombuffer(keys, head)

    def _taken(
        self, keys: bytes, values: bytes, chosen: "NDArray[np.bool_]", time_ns: int, jobs: int
    ) -> "Batch":
        import numpy as np  # noqa: PLC0415

        from eunomia_agent.events import stacks  # noqa: PLC0415
        from eunomia_agent.events.batch import Batch  # noqa: PLC0415

        layout = self.layout
        index = np.flatnonzero(chosen)
        taken = np.frombuffer(keys, np.uint8).reshape(-1, layout.key_size)[index]
        value = np.frombuffer(values, np.uint8).reshape(-1, layout.value_size)[index]
        raw = np.zeros((len(index), layout.size), np.uint8)
        raw[:, : layout.key_size] = taken
        raw[:, layout.key_size : -2 * _U64] = value
        fixed = raw.reshape(-1).view(layout.dtype)
        fixed["time"], fixed["jobs"] = time_ns, jobs
        self._map.delete_many(taken.tobytes())
        if self._traces is None or not len(fixed):
            return Batch(layout, fixed, b"", np.zeros(len(index), np.uint64))
        ids = self._ids(fixed)
        tail, starts = stacks.resolve(fixed, self._stacks, layout.size, self._traces)
        others = np.frombuffer(keys, np.uint8).reshape(-1, layout.key_size)[~chosen]
        still = np.zeros((len(others), layout.size), np.uint8)
        still[:, : layout.key_size] = others
        stacks.drop(ids, self._ids(still.reshape(-1).view(layout.dtype)), self._traces)
        return Batch(layout, fixed, tail, starts)

    def _ids(self, fixed: "NDArray[Any]") -> "NDArray[np.int32]":
        """Return the ids of all stacks that rows name, as long as they are ids."""
        import numpy as np  # noqa: PLC0415

        return np.concatenate([fixed[name].astype(np.int32) for name in self._stacks])
