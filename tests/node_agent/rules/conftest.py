# SPDX-License-Identifier: Apache-2.0
"""A tracker of files, rows of it as they come from a ring, and guards that judge them."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Column, Layout
from eunomia_agent.rules.guard import Elsewhere, Guard
from eunomia_agent.rules.recorded import Event
from eunomia_agent.rules.replay import Kept
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.catalogue import Column as Described
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_api import agent_pb2

KINDS = {0: "open", 1: "delete"}
LAYOUT = Layout(
    "event",
    96,
    [
        Column("time", "boot_ns_t", "uint", 0, 8),
        Column("pid", "tgid_t", "uint", 8, 4),
        Column("uid", "uid_t", "uint", 12, 4),
        Column("comm", "comm_t", "chars", 16, 16),
        Column("kind", "enum kind", "enum", 32, 4, values=KINDS),
        Column("path", "path_t", "uint", 36, 4),
        Column("args", "args_t", "uint", 40, 4),
        Column("writing", "bool", "bool", 44, 1),
        Column("size", "u64", "uint", 48, 8),
        Column("ancestor_pids", "u32[4]", "list", 56, 16, count=4),
        Column("took", "duration_t", "uint", 72, 8),
        Column("subject_flags", "u32", "uint", 80, 4),
        Column("error", "errno_t", "uint", 84, 4),
        Column("result", "s64", "int", 88, 8),
    ],
)
SECOND = 1_000_000_000
OFFSET_NS = 1_750_000_000 * SECOND
"""Unix time at which the machine of these rows was started."""


def tracker(name: str, layout: Layout) -> Tracker:
    columns = [
        Described(
            *(each.name, each.meaning, each.json_type, list(each.values.values()), "", "", None),
            filterable=False,
        )
        for each in layout.columns
        if not each.internal
    ]
    names = [each.name for each in columns]
    denies = {"lsm/file_open": ["open"]}
    return Tracker(name, "", {}, columns, [], {"events": names}, {}, [], [], {}, denies)


@pytest.fixture
def trackers() -> dict[str, Tracker]:
    return {name: tracker(name, LAYOUT) for name in ("access", "execution")}


@pytest.fixture
def web() -> Owner:
    return Owner(7, "container", "shop", "web-0", "uid-7", "nginx", "1b" * 32, image="nginx:1")


RowsOf = Callable[..., Rows]


@pytest.fixture
def rows_of(web: Owner) -> RowsOf:
    """Makes rows of dicts: at is their time in seconds, all else as the columns are."""

    def make(rows: Sequence[dict[str, Any]], owner: Owner = web, tracker: str = "access") -> Rows:
        fixed = np.zeros(len(rows), LAYOUT.dtype)
        starts, tail = np.zeros(len(rows), np.uint64), b""
        for number, row in enumerate(rows):
            starts[number], offset = len(tail), LAYOUT.size
            for name, value in {"comm": b"sh", "pid": 42, **row}.items():
                if name == "at":
                    fixed["time"][number] = round(value * SECOND)
                elif name in ("path", "args"):
                    fixed[name][number] = len(value) << 16 | offset
                    offset, tail = offset + len(value), tail + value
                else:
                    fixed[name][number] = value
        batch = Batch(LAYOUT, fixed, tail, starts)
        return Rows(batch, owner, tracker, node="n1", offset_ns=OFFSET_NS)

    return make


@pytest.fixture
def rule() -> Callable[..., agent_pb2.Rule]:
    """Makes a rule about files that are written."""

    def make(**fields: Any) -> agent_pb2.Rule:
        default = {
            "name": "written",
            "severity": agent_pb2.SEVERITY_WARNING,
            "trackers": ["access"],
            "when": "writing",
            "message": "{comm} ({pid}) wrote {path}",
        }
        return agent_pb2.Rule(**{**default, **fields})

    return make


class Watched:
    """A guard of some rules, with what it told and what it counted."""

    def __init__(self, guard: Guard, kept: Kept, counted: list[tuple[str, int, str]]) -> None:
        self.guard = guard
        self.alerts = kept.alerts
        self.counted = counted

    @property
    def messages(self) -> list[str]:
        return [alert.message for alert in self.alerts]


@pytest.fixture
def watch(trackers: dict[str, Tracker]) -> Callable[..., Watched]:
    """Makes a guard of a policy with these rules."""

    def make(*rules: agent_pb2.Rule, elsewhere: Elsewhere = lambda *_: None, **job: Any) -> Watched:
        kept, counted = Kept(), list[tuple[str, int, str]]()
        guard = Guard(
            agent_pb2.Job(**{"uid": "p-1", "rules": rules, **job}),
            trackers,
            kept,
            lambda name, severity, owner: counted.append((name, severity, owner.pod)),
            elsewhere,
        )
        return Watched(guard, kept, counted)

    return make


@pytest.fixture
def recorded() -> Callable[[Rows], list[Event]]:
    """Makes what a file holds of rows."""
    return lambda rows: [Event.parse(line) for line in rows.json()]


@pytest.fixture
def row_of() -> Callable[[agent_pb2.Alert], dict[str, Any]]:
    return lambda alert: json.loads(alert.evidence)
