# SPDX-License-Identifier: Apache-2.0
"""Judges rows that were recorded, by the guard that judges them live."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eunomia_agent.rules.guard import Guard
from eunomia_agent.rules.recorded import Event, Recorded
from eunomia_agent.sinks.clock import rfc3339
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_api import agent_pb2
from eunomia_api.where import KUBERNETES_API

MOST_ROWS = 2000
LONGEST_NS = 200_000_000
"""Rows of so long are judged together: no longer than live ones wait."""
POLICY = "replay"
BEGIN_NS = 1_735_689_600_000_000_000
"""When examples begin: 2025-01-01T00:00:00Z."""


class Kept:
    """An outlet that keeps what it is given."""

    def __init__(self) -> None:
        self.alerts: list[agent_pb2.Alert] = []

    def put(self, alert: agent_pb2.Alert) -> bool:
        """Keep an alert."""
        self.alerts.append(alert)
        return True


def replay(
    rules: Sequence[agent_pb2.Rule],
    events: Iterable[Event],
    trackers: Mapping[str, Tracker],
    policy: str = POLICY,
    kubernetes_api: str = "",
) -> tuple[list[agent_pb2.Alert], agent_pb2.PolicyReport]:
    """Return what rules tell of rows, in the order of time, and the counts of it.

    policy: the uid of the policy that the rules are of; kubernetes_api: see Recorded. Rows of
    trackers that the catalogue does not have are passed over.
    """
    kept = Kept()
    guard = Guard(agent_pb2.Job(uid=policy, rules=rules), trackers, kept)
    for part in _parts(event for event in events if event.tracker in trackers):
        for batch in _batches(part):
            guard.judge(Recorded(batch, trackers[batch[0].tracker], kubernetes_api))
    return sorted(kept.alerts, key=lambda alert: alert.time_ns), guard.report()


def example(
    tracker: str,
    row: Mapping[str, Any],
    *,
    times: int = 1,
    every_ns: int = 0,
    vary: str | None = None,
) -> Iterator[Event]:
    """Give rows like one, so many, and so far apart.

    vary: a column that differs in each: a number goes up by one, a text gets the number behind it.
    """
    for number in range(times):
        time_ns = BEGIN_NS + number * every_ns
        whole = {"time": rfc3339(np.array([time_ns], np.uint64), 0)[0], "tracker": tracker, **row}
        if vary is not None:
            first = row.get(vary, 0)
            whole[vary] = f"{first}{number}" if isinstance(first, str) else first + number
        yield Event(whole, json.dumps(whole).encode(), tracker, time_ns)


def _parts(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Give rows that came within a short time of each other."""
    part: list[Event] = []
    for event in events:
        if part and (len(part) >= MOST_ROWS or abs(event.time_ns - part[0].time_ns) > LONGEST_NS):
            yield part
            part = []
        part.append(event)
    if part:
        yield part


def _batches(events: Sequence[Event]) -> Iterable[list[Event]]:
    """Return the rows of each owner and result together, in their order."""
    found: dict[object, list[Event]] = {}
    for event in events:
        labels = None if event.labels is None else tuple(sorted(event.labels.items()))
        around = (event.row.get("node"), event.row.get(KUBERNETES_API), labels)
        key = (event.tracker, event.source, event.owner, around)
        found.setdefault(key, []).append(event)
    return found.values()
