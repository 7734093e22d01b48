# SPDX-License-Identifier: Apache-2.0
"""Rows that were written down as JSON, judged as they were when they came.

A row is an object as `eunomia run --fmt json` prints it. A column of its result that is not in it
is zero, false or empty; what is null, or of another result, is what the row lacks.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events import names
from eunomia_agent.events.where.number import NOWHERE
from eunomia_agent.events.where.scope import DTYPES, Constants, Scope, known_of
from eunomia_agent.events.where.vector import Numbers, Terms, Vector
from eunomia_agent.rules.errors import RowInvalid
from eunomia_agent.rules.rows import Index
from eunomia_agent.sinks.clock import SECOND
from eunomia_agent.trackers.catalogue import Column, Tracker
from eunomia_api.param import shown
from eunomia_api.where import CONSTANTS, KUBERNETES_API, LABELS, OWNER, syntax, types
from eunomia_api.where.column import type_of

COMMON = ("time", "owner", "cgroup", "tracker", "source", "interval", LABELS, *CONSTANTS)
"""What stands in a row beside its tracker's columns."""
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}
_ZEROS: Mapping[str, str] = {
    "open_flags_t": "O_RDONLY",
    "file_mode_t": "0000",
    "device_t": "0:0",
    "ipc_key_t": "0x00000000",
    "ip_t": "::",
    "ipv6_t": "::",
    "ipv4_t": "0.0.0.0",  # noqa: S104  (an address that nothing is bound to)
    "syscall_t": names.SYSCALLS.get(0, "0"),
    "capability_t": names.CAPABILITIES[0],
}
"""What 0 is shown as, of columns that show numbers by name; of others the empty text."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_EMPTY: Mapping[str, Any] = {"integer": 0, "number": 0.0, "boolean": False}


@dataclass(frozen=True, slots=True)
class Event:
    """A row that was written down. line: as JSON; time_ns: Unix time."""

    row: Mapping[str, Any]
    line: bytes
    tracker: str
    time_ns: int

    @classmethod
    def parse(cls, line: bytes) -> "Event":
        """Read a row. Raises RowInvalid."""
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise RowInvalid("is no JSON") from None
        if not isinstance(row, dict):
            raise RowInvalid("is no JSON object")
        if _SURROGATE.search(line) and not _is_text(row):
            raise RowInvalid("holds half of a surrogate pair, which is no text")
        tracker, time = row.get("tracker"), row.get("time")
        if not isinstance(tracker, str) or not isinstance(time, str):
            raise RowInvalid('needs "time" and "tracker", as `eunomia run --fmt json` prints them')
        return cls(row, line, tracker, nanoseconds(time))

    @property
    def source(self) -> str:
        """Which of the tracker's results it is."""
        return str(self.row.get("source", "events"))

    @property
    def owner(self) -> Owner:
        """Whose it is, as far as the row tells."""
        told = {name: str(self.row.get(name) or "") for name in OWNER}
        kind = str(self.row.get("owner") or "container")
        return Owner(
            0,
            kind,  # type: ignore[arg-type]
            namespace=told["namespace"],
            pod=told["pod"],
            pod_uid=told["pod_uid"],
            container=told["container"],
            container_id=told["container_id"],
            image=told["image"],
            path=str(self.row.get("cgroup") or ""),
        )

    @property
    def labels(self) -> Mapping[str, str] | None:
        """The labels of whose it is; None where the row does not tell, as one that was recorded."""
        return self.row.get(LABELS)

    def check(self, tracker: Tracker, *, known_only: bool = False) -> None:
        """Raise RowInvalid for a value that is not of its column.

        known_only: for a name that is no column as well.
        """
        columns = {column.name: column for column in tracker.columns}
        _check_labels(self.row.get(LABELS))
        for name, value in self.row.items():
            if name in COMMON:
                continue
            column = columns.get(name)
            if column is not None:
                _check(column, value)
            elif known_only:
                raise RowInvalid(f"{tracker.name} has no column {shown(name)}")


class RecordedScope(Scope):
    """Columns of recorded rows, as those of a batch."""

    def __init__(
        self,
        events: Sequence[Event],
        tracker: Tracker,
        source: str,
        constants: Constants,
    ) -> None:
        self._events = events
        self._columns = {column.name: column for column in tracker.columns}
        self._present = tracker.sources.get(source, ())
        self._constants = constants
        self._known: dict[str, Vector] = {}

    def __len__(self) -> int:
        return len(self._events)

    def value(self, name: syntax.Name) -> Vector:
        """Return what a name stands for in each row."""
        if name.kind == "owner":
            return known_of(self._constants[name.name])
        if name.name not in self._known:
            self._known[name.name] = self._vector(self._columns[name.name], name.type)
        return self._known[name.name]

    def _vector(self, column: Column, type_: types.Type) -> Vector:
        nothing = zero(column) if column.name in self._present else None
        found = [event.row.get(column.name, nothing) for event in self._events]
        missing = np.array([each is None for each in found], np.bool_)
        error = missing if missing.any() else NOWHERE
        values = [zero(column) if each is None else each for each in found]
        if type_ not in DTYPES:
            return replace(_terms(values), error=error)
        wide = type_ in (types.INT, types.NANOSECONDS) and any(each >= 1 << 63 for each in values)
        return Numbers(np.array(values, np.uint64 if wide else DTYPES[type_]), error)


class Recorded:
    """Recorded rows of one owner, of one result of a tracker; see rules.rows.Judged.

    kubernetes_api: what conditions mean by that, unless rows that someone wrote tell it.
    """

    offset_ns = 0

    def __init__(self, events: Sequence[Event], tracker: Tracker, kubernetes_api: str = "") -> None:
        self._events = events
        first = events[0]
        present = tracker.sources.get(first.source, ())
        self._zeros = {each.name: zero(each) for each in tracker.columns if each.name in present}
        self.tracker = tracker.name
        self.owner = first.owner
        told = {name: str(first.row.get(name) or "") for name in CONSTANTS}
        told["container_id"] = self.owner.short_id
        told[KUBERNETES_API] = told[KUBERNETES_API] or kubernetes_api
        constants: Constants = {**told, LABELS: first.labels}
        self.scope: Scope = RecordedScope(events, tracker, first.source, constants)
        self.times: NDArray[np.int64] = np.array([event.time_ns for event in events], np.int64)
        self.enforced = self.refused = np.zeros(len(events), np.bool_)

    def json(self, rows: Index) -> Sequence[bytes]:
        """Return some rows as they were written down, with what is zero in them."""
        return [self._line(self._events[row]) for row in rows.tolist()]

    def _line(self, event: Event) -> bytes:
        missing = {name: self._zeros[name] for name in self._zeros if name not in event.row}
        return json.dumps({**event.row, **missing}).encode() if missing else event.line


def nanoseconds(date: str) -> int:
    """Return the Unix time of a date such as 2025-01-31T12:00:00.000000001Z. Raises RowInvalid."""
    whole, _, rest = date.removesuffix("Z").partition(".")
    try:
        if not date.endswith("Z") or len(rest) > 9 or (rest and not rest.isdecimal()):
            raise ValueError
        second = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise RowInvalid(f"time: {shown(date)} is no date such as 2025-01-31T12:00:00Z") from None
    return int(second.timestamp()) * SECOND + int(rest.ljust(9, "0") or 0)


def zero(column: Column) -> Any:
    """Return what a row shows of a column that nothing was put in."""
    if column.json_type == "array":
        return []
    if column.json_type != "string":
        return _EMPTY[column.json_type]
    if column.values and not column.type.endswith("_flags"):
        return column.values[0]
    return _ZEROS.get(column.type, "")


def _is_text(row: Mapping[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _terms(values: Sequence[Any]) -> Terms:
    keys = [each if isinstance(each, str) else json.dumps(each) for each in values]
    known = dict(zip(keys, values, strict=True))
    numbers = {key: number for number, key in enumerate(known)}
    codes = np.fromiter((numbers[key] for key in keys), np.intp, len(keys))
    return Terms(codes, list(known.values()))


def _check_labels(labels: object) -> None:
    fits = isinstance(labels, dict) and all(isinstance(each, str) for each in labels.values())
    if labels is not None and not fits:
        raise RowInvalid(f"labels: {shown(labels)} is no object whose members are texts")


def _check(column: Column, value: object) -> None:
    kinds = _KINDS[column.json_type]
    fits = value is None or (
        isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    )
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        fits = False
    if isinstance(value, list):
        wanted = (str,) if type_of(column).element == types.STRING else (int, float)
        fits = all(isinstance(each, wanted) and not isinstance(each, bool) for each in value)
    if not fits:
        raise RowInvalid(f"{column.name}: {shown(value)} is no {column.json_type}")
