# SPDX-License-Identifier: Apache-2.0
"""The newest alerts of one policy, as its AlertReport shows them. Pure."""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from eunomia_api.alertreport import MAX_ALERTS, AlertReport, ReportedAlert

REMEMBERED = 4096
"""Ids of alerts that are in the list no more."""
WRITE_SECONDS = 2.0
LONGEST_BACKOFF_SECONDS = 30.0

Pod = tuple[str, str, str]
"""Node, namespace and name."""


class AlertBook:
    """Alerts by their ids. Each counts once, however often it is told.

    When there is no room, that pod's oldest one goes of which there are most: a flood from one pod
    does not push out what others tell.
    """

    def __init__(self) -> None:
        self.total = 0
        self.since = ""
        """When the first alert came in: RFC 3339."""
        self.version = 0
        """Goes up with each change."""
        self.written = 0
        """The version that the API server has."""
        self.exists = False
        """Whether there is an AlertReport, as far as is known."""
        self.writing = False
        self.due_at = 0.0
        self._failures = 0
        self._alerts: dict[str, ReportedAlert] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._pods: Counter[Pod] = Counter()

    @property
    def alerts(self) -> list[ReportedAlert]:
        """All of them, newest first."""
        return sorted(self._alerts.values(), key=lambda each: (each.time, each.id), reverse=True)

    def restore(self, body: Mapping[str, Any], uid: str) -> None:
        """Begin with what an earlier leader wrote for the policy with this uid.

        Raises ValueError when it cannot be read; it is then written anew.
        """
        self.exists = True
        owners = body["metadata"].get("ownerReferences") or ()
        if not any(each.get("uid") == uid for each in owners):
            # Of a policy that had the same name, and has yet to be collected.
            return
        try:
            before = AlertReport.model_validate(body)
        except ValidationError as error:
            raise ValueError(f"the AlertReport cannot be read: {error}") from None
        self._alerts = {each.id: each for each in before.alerts}
        self._pods = Counter(_pod(each) for each in self._alerts.values())
        self.total = max(before.total, len(self._alerts))
        self.since = before.observed_since or ""

    def take(self, alert: ReportedAlert, now: str) -> bool:
        """Take in an alert; return whether it is new. now: RFC 3339."""
        if alert.id in self._alerts or alert.id in self._gone:
            return False
        self._alerts[alert.id] = alert
        self._pods[_pod(alert)] += 1
        self.total += 1
        self.since = self.since or now
        self.version += 1
        if len(self._alerts) > MAX_ALERTS:
            self._let_go()
        return True

    def note_response(self, id_: str, response: str) -> None:
        """Take note of what was done about an alert."""
        alert = self._alerts.get(id_)
        if alert is not None:
            self._alerts[id_] = alert.model_copy(update={"response": response})
            self.version += 1

    def is_write_due(self, now: float) -> bool:
        """Tell whether it is to be written now."""
        return self.written < self.version and not self.writing and now >= self.due_at

    def note_written(self, version: int, now: float) -> None:
        """Take note that a version was written."""
        self.exists = True
        self.written = version
        self.due_at = now + WRITE_SECONDS
        self._failures = 0

    def note_failure(self, now: float) -> None:
        """Take note that it could not be written: wait longer each time."""
        self._failures += 1
        self.due_at = now + min(LONGEST_BACKOFF_SECONDS, WRITE_SECONDS * 2.0**self._failures / 2)

    def to_body(self) -> dict[str, object]:
        """Return the fields of the AlertReport."""
        return {
            "alerts": [each.model_dump(by_alias=True, mode="json") for each in self.alerts],
            "total": self.total,
            "dropped": self.total - len(self._alerts),
            "observedSince": self.since,
        }

    def _let_go(self) -> None:
        most = max(self._pods.values())
        oldest = min(
            (each for each in self._alerts.values() if self._pods[_pod(each)] == most),
            key=lambda each: (each.time, each.id),
        )
        del self._alerts[oldest.id]
        self._pods -= Counter([_pod(oldest)])
        self._gone[oldest.id] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)


def _pod(alert: ReportedAlert) -> Pod:
    return alert.node, alert.namespace, alert.pod
