# SPDX-License-Identifier: Apache-2.0
"""Rows as an aligned table, a line a row, as they come."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eunomia_agent.cli.catalogue import widths
from eunomia_agent.cli.histogram import SLOTS, blocks
from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.lines import Lines
from eunomia_agent.events.render import escaped
from eunomia_agent.sinks.clock import SECOND
from eunomia_agent.sinks.rows import Rows, shown
from eunomia_agent.trackers.catalogue import Tracker

HIDDEN = frozenset({"tid", "uid", "ancestors", "ancestor_pids"})
"""Columns that only JSON and CSV have."""
WHO = ("comm", "pid")
"""Columns that say who did it. Rows without any, such as a container's figures, name its owner."""
TIME_WIDTH = 8
CONTAINER_WIDTH = 28
COMM_WIDTH, PID_WIDTH = 16, 7
DEFAULT_WIDTH = 10
LONG = 24
"""Characters from which on a column is the one to take what is left of the screen."""
COUNT = "count"


@dataclass(frozen=True, slots=True)
class Cell:
    """A column of the table. right: whether numbers stand in it, which are aligned to the right.

    end: whether the end of what is too long is kept, and not its beginning.
    """

    name: str
    width: int
    right: bool = False
    end: bool = False


class Table:
    """Fixed widths, from the catalogue; the last column takes what is left of the screen.

    trackers: those whose rows may come, by name. screen: characters of a line of the terminal;
    what is longer than its column is cut, with an ellipsis. None: the table goes to a file or
    pipe, where nothing is cut. containers: tells, with the first row, whether to
    show whose rows are.
    """

    suffix = "txt"

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        *,
        screen: int | None,
        containers: Callable[[], bool],
    ) -> None:
        self._trackers = trackers
        self._widths = {name: widths(each) for name, each in trackers.items()}
        self._screen = screen
        self._has_containers = containers
        self._several = len(trackers) > 1
        self._any_nameless = any(
            is_nameless(names) for each in trackers.values() for names in each.sources.values()
        )
        self._headed: tuple[str, str] | None = None
        self._read = 0
        self._known: dict[tuple[str, str], list[Cell]] = {}

    @cached_property
    def _containers(self) -> bool:
        return self._has_containers()

    def head(self, rows: Rows) -> bytes:
        """Return the names of the columns, once, and for counts at each reading."""
        if rows.source == "histogram":
            return b""
        kind = (rows.tracker, rows.source) if not self._several else ("", "")
        reading = 0 if rows.source == "events" else int(rows.batch.fixed["time"][0])
        if (kind, reading) == (self._headed, self._read):
            return b""
        between = "\n" if self._headed is not None else ""
        self._headed, self._read = kind, reading
        cells = self._cells(rows)
        names = [cell.name.upper() for cell in cells]
        return f"{between}{self._line(cells, names)}\n".encode()

    def lines(self, rows: Rows) -> Lines:
        """Return a line for each row, most first where rows are counts; a chart a histogram."""
        if rows.source == "histogram":
            return self._charts(rows)
        rows = _most_first(rows)
        cells = self._cells(rows)
        columns: list[Sequence[str]] = [self._times(rows)]
        names = self._shown(rows)
        if self._owners(names):
            columns.append([owner_of(rows.owner, names)] * len(rows))
        own = [rows.batch.text(name) for name in names]
        if self._several:
            nobody = [""] * len(rows)
            columns.append([rows.tracker] * len(rows))
            columns += [own[names.index(name)] if name in names else nobody for name in WHO]
            columns.append(_details(names, own))
        else:
            columns += own
        return Lines.of(self._line(cells, values).encode() for values in zip(*columns, strict=True))

    def _charts(self, rows: Rows) -> Lines:
        columns = self._trackers[rows.tracker].columns
        unit = next((each.unit for each in columns if each.name == SLOTS), "")
        owner = f"  {owner_of(rows.owner, WHO)}" if self._containers else ""
        return blocks(rows, [f"{each}{owner}" for each in self._times(rows)], unit)

    def _owners(self, names: Sequence[str]) -> bool:
        """Tell whether to show whose rows of these columns are."""
        return self._containers or (self._any_nameless if self._several else is_nameless(names))

    def _cells(self, rows: Rows) -> list[Cell]:
        kind = rows.tracker, rows.source
        if kind not in self._known:
            self._known[kind] = self._cells_of(rows)
        return self._known[kind]

    def _cells_of(self, rows: Rows) -> list[Cell]:
        cells = [Cell("time", TIME_WIDTH)]
        names = self._shown(rows)
        if self._owners(names):
            cells.append(Cell("container", CONTAINER_WIDTH, end=is_nameless(names)))
        if self._several:
            longest = max(map(len, self._widths))
            cells.append(Cell("tracker", max(longest, len("tracker"))))
            cells += [Cell("comm", COMM_WIDTH), Cell("pid", PID_WIDTH, right=True)]
            return [*cells, Cell("details", 0)]
        return cells + [self._cell(rows, name) for name in names]

    def _shown(self, rows: Rows) -> list[str]:
        """Return the names of the columns in their order; a long text goes last."""
        names = [name for name in shown(rows.batch.layout) if name not in HIDDEN]
        width = self._widths.get(rows.tracker, {})
        longest = max(names, key=lambda name: width.get(name, 0), default="")
        if width.get(longest, 0) >= LONG and not self._several:
            names.remove(longest)
            names.append(longest)
        return names

    def _cell(self, rows: Rows, name: str) -> Cell:
        width = self._widths.get(rows.tracker, {}).get(name, DEFAULT_WIDTH)
        column = rows.batch.layout.column(name)
        return Cell(name, max(width, len(name)), column.json_type in ("integer", "number"))

    def _line(self, cells: Sequence[Cell], values: Sequence[str]) -> str:
        left = self._screen
        parts: list[str] = []
        for cell, value in zip(cells[:-1], values[:-1], strict=True):
            if left is not None:
                value = _cut(value, cell.width, end=cell.end)  # noqa: PLW2901
                left -= cell.width + 1
            parts.append(value.rjust(cell.width) if cell.right else value.ljust(cell.width))
        last = values[-1]
        parts.append(last if left is None else _cut(last, max(left, cells[-1].width)))
        return " ".join(parts).rstrip()

    def _times(self, rows: Rows) -> list[str]:
        seconds = (rows.batch.fixed["time"].astype("int64") + rows.offset_ns) // SECOND
        known = {each: _clock(each) for each in set(seconds.tolist())}
        return [known[each] for each in seconds.tolist()]


def _most_first(rows: Rows) -> Rows:
    if rows.source == "events" or COUNT not in rows.batch.layout:
        return rows
    return rows.take(np.argsort(rows.batch.fixed[COUNT], kind="stable")[::-1])


def _details(names: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    """Return a tracker's own columns as name=value, empty ones left out."""
    own = [(name, column) for name, column in zip(names, columns, strict=True)]
    own = [(name, column) for name, column in own if name not in WHO]
    heads = [f"{name}=" for name, _ in own]
    return [
        " ".join(head + value for head, value in zip(heads, values, strict=True) if value)
        for values in zip(*(column for _, column in own), strict=True)
    ]


def is_nameless(names: Collection[str]) -> bool:
    """Tell whether none of the columns says who did it."""
    return not set(WHO).intersection(names)


def owner_of(owner: Owner, columns: Collection[str]) -> str:
    """Return what a person would call the owner of a row: the container.

    Where there is none, and the row's own columns do not say who it was: the path of the cgroup.
    """
    names = [escaped(each) for each in (owner.namespace, owner.pod, owner.container) if each]
    if names or owner.short_id:
        return "/".join(names) or owner.short_id
    if owner.path and is_nameless(columns):
        return escaped(owner.path)
    return "-" if owner.kind == "host" else owner.kind


def _cut(text: str, width: int, *, end: bool = False) -> str:
    if len(text) <= width:
        return text
    kept = max(0, width - 1)
    return f"…{text[len(text) - kept :]}" if end else f"{text[:kept]}…"


def _clock(second: int) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(second))
    except (OverflowError, ValueError, OSError):  # a record full of ones: no such time
        return "??:??:??"
