# SPDX-License-Identifier: Apache-2.0
"""The columns that `kubectl get` shows of each kind."""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def _column(name: str, kind: str, path: str, help_: str, **more: object) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path, "description": help_, **more}


def _reason(condition: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].reason'


def _status(condition: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].status'


_AGE = _column("Age", "date", ".metadata.creationTimestamp", "Since when it exists.")
_JOB = [
    _column("Phase", "string", ".status.phase", "Where the job stands."),
    _column("Trackers", "string", ".status.trackers", "Names of the trackers."),
    _column("Pods", "integer", ".status.pods", "Pods that the job covers."),
    _column("Nodes", "integer", ".status.nodes.desired", "Nodes that the job is meant for."),
    _column("Events", "integer", ".status.events.matched", "Events of the job so far."),
    _column("Lost", "integer", ".status.events.lost", "Events that found a buffer full."),
    _column("Complete%", "integer", ".status.completenessPercent", "Share of events delivered."),
    _AGE,
    _column("Accepted", "string", _reason("Accepted"), "Why it was refused, if so.", priority=1),
    _column("Deadline", "string", ".status.deadline", "When the job will be over.", priority=1),
]
_POLICY = [
    _column("Mode", "string", ".spec.mode", "Whether the policy acts."),
    _column("Rules", "integer", ".status.rules.total", "Rules that are judged."),
    _column("Alerts", "integer", ".status.alerts.alerts", "Broken rules of severity alert."),
    _column("Warnings", "integer", ".status.alerts.warnings", "Those of severity warning."),
    _column("Profile", "string", ".status.seccomp.phase", "Where the seccomp profiles stand."),
    _column("Pods", "integer", ".status.pods", "Pods that the policy covers."),
    _column("Ready", "string", _status("Ready"), "Whether all nodes do what it says."),
    _AGE,
    _column("Accepted", "string", _reason("Accepted"), "Why it was refused, if so.", priority=1),
    _column("Invalid", "integer", ".status.rules.invalid", "Rules not judged.", priority=1),
    _column("Bound", "integer", ".status.seccomp.boundPods", "Pods with profile.", priority=1),
    _column("Killed", "integer", ".status.alerts.killed", "Processes killed.", priority=1),
    _column("Denied", "integer", ".status.alerts.denied", "Calls refused.", priority=1),
]
_PROFILE = [
    _column("Version", "string", ".spec.version", "The version of the profile."),
    _column("Base", "string", ".spec.base", "What it allows beside its own list."),
    _column("Ready", "string", _status("Ready"), "Whether all nodes have the file."),
    _column("Nodes", "integer", ".status.nodesReady", "Nodes that have the file."),
    _AGE,
    _column("File", "string", ".status.localhostProfile", "The file on the nodes.", priority=1),
    _column("From", "string", ".spec.baseProfileName", "Its base among profiles.", priority=1),
]
_REPORT = [
    _column("Alerts", "integer", ".total", "Alerts that came in."),
    _column("Newest", "date", ".alerts[0].time", "When the newest one happened."),
    _column("Rule", "string", ".alerts[0].rule", "The rule that it broke."),
    _column("Pod", "string", ".alerts[0].pod", "The pod in which it did."),
    _AGE,
]
COLUMNS: Mapping[str, list[Schema]] = {
    "TraceJob": _JOB,
    "ClusterTraceJob": _JOB,
    "SecurityPolicy": _POLICY,
    "ClusterSecurityPolicy": _POLICY,
    "SeccompProfile": _PROFILE,
    "AlertReport": _REPORT,
}
"""By kind."""
