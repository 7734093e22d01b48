# SPDX-License-Identifier: Apache-2.0
"""Alerts as JSON lines, on standard output or in a folder."""

import json
from typing import Any

import numpy as np

from eunomia_agent.cli.files import Files
from eunomia_agent.cli.writer import Writer
from eunomia_agent.sinks.clock import rfc3339
from eunomia_api import agent_pb2

FILE = "alerts.jsonl"
SEVERITIES = {
    agent_pb2.SEVERITY_EVENT: "event",
    agent_pb2.SEVERITY_WARNING: "warning",
    agent_pb2.SEVERITY_ALERT: "alert",
}


class Printed:
    """An outlet that writes alerts to standard output as they come."""

    def __init__(self, writer: Writer, node: str) -> None:
        self._writer = writer
        self._node = node

    def put(self, alert: agent_pb2.Alert) -> bool:
        """Write an alert; False where nobody takes it."""
        line = as_json(alert, self._node) + b"\n"
        return self._writer.write(line) == len(line)


class Filed:
    """An outlet that appends alerts to a file of a folder, which is rotated."""

    def __init__(self, files: Files, node: str) -> None:
        self._files = files
        self._node = node

    def put(self, alert: agent_pb2.Alert) -> bool:
        """Append an alert; False where the disk takes no more."""
        return self._files.append(FILE, as_json(alert, self._node))


def as_json(alert: agent_pb2.Alert, node: str = "") -> bytes:
    """Return an alert as an object of ASCII characters. evidence: the row, as an object.

    node: where it was; left out where the row tells.
    """
    evidence: dict[str, Any] = json.loads(alert.evidence or "{}")
    told = {
        "time": date(alert),
        "node": node or str(evidence.get("node", "")),
        "namespace": alert.namespace,
        "pod": alert.pod,
        "container": alert.container,
        "container_id": alert.container_id[:12],
        "image": alert.image,
        "rule": alert.rule,
        "severity": severity(alert),
        "message": alert.message,
        "tags": list(alert.tags),
        "count": alert.count,
        "id": alert.id,
        "tracker": alert.tracker,
        "comm": alert.comm,
        "pid": alert.pid,
        "uid": alert.uid,
        "ancestors": [{"pid": each.pid, "comm": each.comm} for each in alert.ancestors],
        "evidence": evidence,
    }
    return json.dumps(told, separators=(",", ":")).encode("ascii")


def date(alert: agent_pb2.Alert) -> str:
    """Return when it was: RFC 3339 in UTC, with nanoseconds."""
    return rfc3339(np.array([alert.time_ns], np.uint64), 0)[0]


def severity(alert: agent_pb2.Alert) -> str:
    """Return event, warning or alert."""
    return SEVERITIES[alert.severity]


def counts(report: agent_pb2.PolicyReport) -> str:
    """Return in words what came of rules."""
    numbers = ((report.alerts, "alert"), (report.warnings, "warning"), (report.events, "event"))
    told = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in numbers)
    more = [(report.deduplicated, "of the same in the time before"), (report.dropped, "not told")]
    rest = "".join(f", {number} {what}" for number, what in more if number)
    return told + rest
