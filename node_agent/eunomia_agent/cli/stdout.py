# SPDX-License-Identifier: Apache-2.0
"""Rows on standard output, in any format."""

from typing import Protocol

from eunomia_agent.cli.writer import Writer
from eunomia_agent.events.lines import Lines
from eunomia_agent.sinks.rows import Rows


class Format(Protocol):
    """How rows are written. suffix: of files that hold such rows."""

    suffix: str

    def head(self, rows: Rows) -> bytes:
        """Return whole lines that go before these rows; mostly none."""
        ...

    def lines(self, rows: Rows) -> Lines:
        """Return a line for each row, with no character in it that is not printable."""
        ...


class StdoutSink:
    """Writes rows as they come. Those that come once the reader has gone are lost."""

    name = "standard output"
    limited = 0

    def __init__(self, writer: Writer, form: Format) -> None:
        self._writer = writer
        self._format = form
        self._head = b""

    @property
    def problem(self) -> str | None:
        """What is wrong with standard output now."""
        return self._writer.problem

    def write(self, rows: Rows) -> int:
        """Write rows; see Sink."""
        self._head = self._format.head(rows) or self._head
        lines = self._format.lines(rows)
        if self._head and self._writer.write(self._head) < len(self._head):
            return 0
        self._head = b""
        return lines.fitting(self._writer.write(lines.data))

    def close(self) -> None:
        """Do nothing: standard output stays open."""
