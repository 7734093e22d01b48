# SPDX-License-Identifier: Apache-2.0
"""Rows as JSON lines and as CSV."""

from collections.abc import Sequence

from eunomia_agent.events.lines import Lines
from eunomia_agent.events.render import escaped
from eunomia_agent.sinks.clock import rfc3339
from eunomia_agent.sinks.rows import Rows, shown


class Json:
    """One JSON object a line, ASCII; its keys are those of `Rows.json`."""

    suffix = "jsonl"

    def head(self, rows: Rows) -> bytes:
        """Return nothing."""
        return b""

    def lines(self, rows: Rows) -> Lines:
        """Return a JSON object for each row."""
        return rows.json()


class Csv:
    """RFC 4180: a line with names, then a record a row, each ended by CR and LF.

    Columns: those of OWNER, then those of the tracker. cgroup: the path of one that is no
    container's. Numbers and lists are as in JSON; in text, what is not printable is escaped by a
    backslash. A field is empty where a row does not have the column.
    """

    suffix = "csv"

    def __init__(self) -> None:
        self._named: Sequence[str] = ()

    def head(self, rows: Rows) -> bytes:
        """Return the line with names, before the first rows."""
        names = shown(rows.batch.layout)
        if names == self._named:
            return b""
        self._named = names
        return (",".join([*OWNER, *names]) + "\r\n").encode()

    def lines(self, rows: Rows) -> Lines:
        """Return a record for each row."""
        owner = rows.owner
        same = (
            rows.node,
            owner.namespace,
            owner.pod,
            owner.container,
            owner.short_id,
            owner.kind,
            "" if owner.kind == "container" else owner.path,
            rows.tracker,
            rows.source,
            "" if rows.interval is None else f"{rows.interval:g}",
        )
        constant = ",".join(_field(escaped(value)) for value in same)
        dates = rfc3339(rows.batch.fixed["time"], rows.offset_ns)
        columns = [_column(rows, name) for name in shown(rows.batch.layout)]
        return Lines.of(
            f"{date},{constant},{','.join(values)}\r".encode()
            for date, *values in zip(dates, *columns, strict=True)
        )


OWNER = (
    *("time", "node", "namespace", "pod", "container", "container_id", "owner", "cgroup"),
    *("tracker", "source", "interval"),
)


def _column(rows: Rows, name: str) -> list[str]:
    """Return fields: numbers and lists as in JSON, all else as people read it."""
    if rows.batch.layout.column(name).json_type == "string":
        return [_field(value) for value in rows.batch.text(name)]
    return ["" if value == "null" else _field(value) for value in rows.batch.json(name)]


def _field(value: str) -> str:
    if "," in value or '"' in value:
        return '"' + value.replace('"', '""') + '"'
    return value
