# SPDX-License-Identifier: Apache-2.0
"""An alert as a line of JSON."""

import json
from typing import Any

import numpy as np

from eunomia_agent.sinks.clock import rfc3339
from eunomia_api import agent_pb2

SEVERITIES = {
    agent_pb2.SEVERITY_EVENT: "event",
    agent_pb2.SEVERITY_WARNING: "warning",
    agent_pb2.SEVERITY_ALERT: "alert",
}


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
        "response": alert.response,
        "dry_run": alert.dry_run,
    }
    return json.dumps(told, separators=(",", ":")).encode("ascii")


def date(alert: agent_pb2.Alert) -> str:
    """Return when it was: RFC 3339 in UTC, with nanoseconds."""
    return rfc3339(np.array([alert.time_ns], np.uint64), 0)[0]


def severity(alert: agent_pb2.Alert) -> str:
    """Return event, warning or alert."""
    return SEVERITIES[alert.severity]
