# SPDX-License-Identifier: Apache-2.0
"""Rows as JSON lines and as CSV."""

from collections.abc import Sequence

from eunomia_agent.events.lines import Lines
from eunomia_agent.events.render import escaped
from eunomia_agent.sinks.clock import rfc3339
from eunomia_agent.sinks.rows import SUBJECT, Rows


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

    Columns: time, node, namespace, pod, container, container_id, owner, tracker, source and
    interval, then those of the tracker. Numbers are as in JSON; in text, what is not printable is
    escaped by a backslash.
    """

    suffix = "csv"

    def __init__(self) -> None:
        self._named: Sequence[str] = ()

    def head(self, rows: Rows) -> bytes:
        """Return the line with names, before the first rows."""
        names = own_columns(rows)
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
            rows.tracker,
            rows.source,
            "" if rows.interval is None else f"{rows.interval:g}",
        )
        constant = ",".join(_field(escaped(value)) for value in same)
        dates = rfc3339(rows.batch.fixed["time"], rows.offset_ns)
        columns = [_column(rows, name) for name in own_columns(rows)]
        return Lines.of(
            f"{date},{constant},{','.join(values)}\r".encode()
            for date, *values in zip(dates, *columns, strict=True)
        )


OWNER = (
    *("time", "node", "namespace", "pod", "container", "container_id", "owner"),
    *("tracker", "source", "interval"),
)


def own_columns(rows: Rows) -> list[str]:
    """Return the names of the columns that a row shows after its owner's."""
    names = [column.name for column in rows.batch.layout.columns if not column.internal]
    subject = [name for name in SUBJECT if name in names]
    return [*subject, *(name for name in names if name not in SUBJECT and name != "time")]


def _column(rows: Rows, name: str) -> list[str]:
    """Return fields: numbers and lists as in JSON, all else as people read it."""
    values = rows.batch.json(name)
    if values and values[0].startswith('"'):
        values = rows.batch.text(name)
    return [_field(value) for value in values]


def _field(value: str) -> str:
    if "," in value or '"' in value:
        return '"' + value.replace('"', '""') + '"'
    return value
