# SPDX-License-Identifier: Apache-2.0
"""`--top`: what happened most in the last interval, refreshed in place."""

import time
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eunomia_agent.cli.table import HIDDEN, WHO, is_nameless, owner_of
from eunomia_agent.sinks.rows import Rows, shown

COUNT = "count"
HEADING_LINES = 4
Values = tuple[str, ...]


class Top:
    """A sink that shows counts, most first. Single events are counted by container and process."""

    name = "terminal"
    limited = 0
    problem: str | None = None

    def __init__(
        self, tracker: str, *, interval: float, containers: bool, console: Console | None = None
    ) -> None:
        self._tracker = tracker
        self._interval = interval
        self._owners = containers
        self._names: Sequence[str] = ()
        self._gathered: Counter[Values] = Counter()
        self._shown: list[tuple[Values, int]] = []
        self._since = time.monotonic()
        self._console = console or Console()
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, get_renderable=self._table
        )
        self._live.start()

    def write(self, rows: Rows) -> int:
        """Take rows in; see Sink."""
        if rows.source == "histogram":
            return len(rows)
        columns = [name for name in shown(rows.batch.layout) if name not in HIDDEN]
        if rows.source == "events":
            columns = [name for name in columns if name in WHO]  # what they are counted by
            counts = [1] * len(rows)
        else:
            columns.remove(COUNT)
            counts = rows.batch.fixed[COUNT].tolist()
        self._names = columns
        self._owners = self._owners or is_nameless(columns)
        texts = [rows.batch.text(name) for name in columns]
        owner = owner_of(rows.owner, columns)
        for count, values in zip(counts, zip(*texts, strict=True), strict=True):
            self._gathered[owner, *values] += count
        return len(rows)

    def refresh(self) -> None:
        """Show what was gathered, once an interval is over."""
        now = time.monotonic()
        if now - self._since >= 0.9 * self._interval:
            self._shown = sorted(self._gathered.items(), key=itemgetter(1), reverse=True)
            self._gathered.clear()
            self._since = now
            self._live.refresh()

    def close(self) -> None:
        """Leave the last table on the terminal."""
        if self._live.is_started:
            self._live.stop()
            if self._gathered:
                self._shown = sorted(self._gathered.items(), key=itemgetter(1), reverse=True)
            self._console.print(self._table())

    def _table(self) -> Table:
        total = sum(count for _, count in self._shown)
        table = Table(
            title=f"{self._tracker}  {time.strftime('%H:%M:%S')}  "
            f"{total:,} in {self._interval:g} s",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        names = [*(["container"] if self._owners else []), *self._names, COUNT]
        for name in names:
            table.add_column(name.upper(), justify="right" if name == COUNT else "left")
        room = max(1, self._console.height - HEADING_LINES)
        for (owner, *values), count in self._shown[:room]:
            cells = [owner, *values] if self._owners else values
            table.add_row(*map(Text, cells), Text(f"{count:,}"))
        return table
