# SPDX-License-Identifier: Apache-2.0
"""The newest alerts of one policy, as its AlertReport shows them. Pure."""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from eunomia_api.alertreport import MAX_ALERTS, AlertReport, ReportedAlert

LARGEST_REPORT = 1_000_000
"""Bytes of all alerts as the API server stores them; etcd takes 1.5 MiB of an object."""
REMEMBERED = 4096
"""Ids of alerts that are in the list no more."""
WRITE_SECONDS = 2.0
WRITE_RATE = 16 * 1024
"""Bytes a second: etcd keeps what was written before for minutes. So a report that is large waits
longer between two writes."""
LONGEST_BACKOFF_SECONDS = 30.0
GIVE_UP_SECONDS = 60.0
MOST_REFUSALS = 2

Pod = tuple[str, str, str]
"""Node, namespace and name."""


class AlertBook:
    """Alerts by their ids. Each counts once, however often it is told.

    When there is no room, that pod's oldest one goes of which there are most (of which there is
    most, where they are too large): a flood from one pod does not push out what others tell.
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
        self._refusals = 0
        self._failing_since: float | None = None
        self._alerts: dict[str, ReportedAlert] = {}
        self._sizes: dict[str, int] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._pods: Counter[Pod] = Counter()
        self._pod_sizes: Counter[Pod] = Counter()

    @property
    def size(self) -> int:
        """Bytes of all alerts as the API server stores them."""
        return self._pod_sizes.total()

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
        for each in before.alerts:
            if each.id not in self._alerts:
                self._add(each)
        self.total = max(before.total, len(self._alerts))
        self.since = before.observed_since or ""
        self._make_room()

    def take(self, alert: ReportedAlert, now: str) -> bool:
        """Take in an alert; return whether it is new. now: RFC 3339."""
        if alert.id in self._alerts or alert.id in self._gone:
            return False
        self._add(alert)
        self.total += 1
        self.since = self.since or now
        self.version += 1
        self._make_room()
        return True

    def note_response(self, id_: str, response: str) -> None:
        """Take note of what was done about an alert."""
        alert = self._alerts.get(id_)
        if alert is not None:
            self._remove(alert)
            self._add(alert.model_copy(update={"response": response}))
            self.version += 1

    def is_write_due(self, now: float) -> bool:
        """Tell whether it is to be written now."""
        return self.written < self.version and not self.writing and now >= self.due_at

    def note_written(self, version: int, now: float) -> None:
        """Take note that a version was written."""
        self.exists = True
        self.written = version
        self.due_at = now + max(WRITE_SECONDS, self.size / WRITE_RATE)
        self.note_answer()

    def note_answer(self) -> None:
        """Take note that it could be read or written."""
        self._failures = self._refusals = 0
        self._failing_since = None

    def has_failed_for_long(self, now: float) -> bool:
        """Tell whether nobody should wait any more until it can be written."""
        if self._failing_since is None:
            return False
        return self._refusals >= MOST_REFUSALS or now - self._failing_since >= GIVE_UP_SECONDS

    def note_failure(self, now: float, *, refused: bool = False) -> None:
        """Take note that it could not be read or written: wait longer each time."""
        self._failures += 1
        self._refusals += refused
        if self._failing_since is None:
            self._failing_since = now
        self.due_at = now + min(LONGEST_BACKOFF_SECONDS, WRITE_SECONDS * 2.0**self._failures / 2)

    def to_body(self) -> dict[str, object]:
        """Return the fields of the AlertReport."""
        return {
            "alerts": [each.model_dump(by_alias=True, mode="json") for each in self.alerts],
            "total": self.total,
            "dropped": self.total - len(self._alerts),
            "observedSince": self.since,
        }

    def _add(self, alert: ReportedAlert) -> None:
        self._alerts[alert.id] = alert
        self._sizes[alert.id] = stored_size(alert)
        self._pods[_pod(alert)] += 1
        self._pod_sizes[_pod(alert)] += self._sizes[alert.id]

    def _remove(self, alert: ReportedAlert) -> None:
        pod = _pod(alert)
        del self._alerts[alert.id]
        self._pod_sizes[pod] -= self._sizes.pop(alert.id)
        self._pods[pod] -= 1
        if not self._pods[pod]:
            del self._pods[pod], self._pod_sizes[pod]

    def _make_room(self) -> None:
        while len(self._alerts) > MAX_ALERTS:
            self._let_go(self._pods)
        while self.size > LARGEST_REPORT:
            self._let_go(self._pod_sizes)

    def _let_go(self, weights: Counter[Pod]) -> None:
        most = max(weights.values())
        oldest = min(
            (each for each in self._alerts.values() if weights[_pod(each)] == most),
            key=lambda each: (each.time, each.id),
        )
        self._remove(oldest)
        self._gone[oldest.id] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)


def stored_size(alert: ReportedAlert) -> int:
    """Return how many bytes the API server stores of an alert.

    Go's encoding/json writes <, >, & and the two separators of lines as six ASCII characters.
    """
    text = alert.model_dump_json(by_alias=True)
    longer = 5 * sum(text.count(each) for each in "<>&")
    return len(text.encode()) + longer + 3 * (text.count("\u2028") + text.count("\u2029")) + 1


def _pod(alert: ReportedAlert) -> Pod:
    return alert.node, alert.namespace, alert.pod
