# SPDX-License-Identifier: Apache-2.0
"""What agents tell of broken rules, checked and bounded. Pure.

A node may lie, and whoever broke a rule chose some of the words: names go into paths of the API and
into labels only when they are names, and all other text is bounded and shown as plain text.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import ValidationError

from eunomia_api import agent_pb2
from eunomia_api.alertreport import (
    MAX_ANCESTORS,
    MAX_EVIDENCE,
    MAX_MESSAGE,
    Ancestor,
    ReportedAlert,
)
from eunomia_api.findings import FINDINGS
from eunomia_api.policystatus import MAX_ALERT_CHARACTERS, LastAlert
from eunomia_operator import clock
from eunomia_operator.accounting.counts import LARGEST
from eunomia_operator.objects.world import Reference
from eunomia_operator.security_metrics import OTHER
from eunomia_operator.text import plain

"""Stands for all names of rules that a policy does not have."""
LONGEST_NAME = 253
LONGEST_TAG = 63
MOST_TAGS = 16
AHEAD_SECONDS = 60.0
"""So much may the clock of a node be ahead."""
NANOSECONDS = 1_000_000_000

_ID = re.compile(r"[0-9A-Za-z][-0-9A-Za-z._]{0,63}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SEVERITIES = {
    agent_pb2.SEVERITY_EVENT: "event",
    agent_pb2.SEVERITY_WARNING: "warning",
    agent_pb2.SEVERITY_ALERT: "alert",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """A broken rule, as a node told it."""

    reported: ReportedAlert
    """As an AlertReport shows it."""
    rule: str
    """A rule of the policy, one of FINDINGS, or OTHER."""
    pod: Reference | None
    """The pod; None when it was none."""

    @property
    def severity(self) -> str:
        """event, warning or alert."""
        return self.reported.severity

    @property
    def brief(self) -> str:
        """Who broke it, and where: not with what arguments, which can hold secrets.

        What agents find out themselves they say in words of their own, without any.
        """
        told = self.reported
        where = f"node {told.node}"
        if self.pod is not None:
            where = f"{self.pod.namespace}/{self.pod.name} ({told.container}) on {where}"
        if self.rule in FINDINGS:
            return f"{where}: {told.message}"
        return f"{told.comm} ({told.pid}) in {where}"

    @property
    def last(self) -> LastAlert:
        """As a policy's status shows it."""
        return LastAlert(
            time=self.reported.time,
            rule=self.reported.rule,
            severity=self.severity,
            message=self.brief[:MAX_ALERT_CHARACTERS],
        )


def read(
    told: agent_pb2.Alert, node: str, namespace: str, rules: Collection[str], now: float
) -> Alert | None:
    """Return what a node told of a policy; None when it cannot be true.

    namespace: the policy's, whose pods alone it is about; empty for all. rules: names of its rules.
    """
    severity = _SEVERITIES.get(told.severity)
    if severity is None or not _ID.fullmatch(told.id):
        return None
    pod = _pod(told)
    if namespace and (pod is None or pod.namespace != namespace):
        return None
    rule = told.rule if told.rule in FINDINGS or told.rule in rules else OTHER
    try:
        reported = ReportedAlert.model_validate(_fields(told, node, severity, pod, now))
    except ValidationError:
        return None
    return Alert(reported, rule, pod)


def again(reported: ReportedAlert, rules: Collection[str]) -> Alert:
    """Return an alert as it was read from a node, from what an AlertReport shows of it."""
    names = reported.namespace, reported.pod, reported.pod_uid
    known = reported.rule in FINDINGS or reported.rule in rules
    return Alert(reported, reported.rule if known else OTHER, _pod_of(*names))


def _pod(told: agent_pb2.Alert) -> Reference | None:
    return _pod_of(told.namespace, told.pod, told.pod_uid)


def _pod_of(namespace: str, name: str, uid: str) -> Reference | None:
    if not all(_NAME.fullmatch(each) for each in (namespace, name, uid)):
        return None
    return Reference("Pod", namespace, name, uid, api_version="v1")


def _evidence(told: str) -> str:
    """Return a row as JSON; where it is none, or too long, what says that it is left out."""
    if not told:
        return ""
    shown = plain(told.replace("\x7f", "\\u007f"), MAX_EVIDENCE)
    try:
        whole = isinstance(json.loads(shown), dict)
    except (ValueError, RecursionError):
        whole = False
    return shown if whole else '{"cut":true}'


def _fields(
    told: agent_pb2.Alert, node: str, severity: str, pod: Reference | None, now: float
) -> dict[str, object]:
    return {
        "id": told.id,
        "time": clock.written(min(max(0.0, told.time_ns / NANOSECONDS), now + AHEAD_SECONDS)),
        "rule": plain(told.rule, 127),
        "severity": severity,
        "message": plain(told.message, MAX_MESSAGE),
        "tags": [plain(tag, LONGEST_TAG) for tag in told.tags[:MOST_TAGS]],
        "node": node,
        "namespace": pod.namespace if pod else "",
        "pod": pod.name if pod else "",
        "pod_uid": pod.uid if pod else "",
        "container": plain(told.container, LONGEST_NAME),
        "container_id": plain(told.container_id, 64),
        "image": plain(told.image, 512),
        "tracker": plain(told.tracker, 63),
        "pid": told.pid,
        "uid": told.uid,
        "comm": plain(told.comm, 64),
        "ancestors": [
            Ancestor(pid=each.pid, comm=plain(each.comm, 64))
            for each in told.ancestors[:MAX_ANCESTORS]
        ],
        "evidence": _evidence(told.evidence),
        "count": min(told.count, LARGEST),
        "response": plain(told.response, 32),
        "dry_run": told.dry_run,
    }
