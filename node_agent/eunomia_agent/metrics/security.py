# SPDX-License-Identifier: Apache-2.0
"""How often rules were broken, by severity: what guards count, those above a rate included.

Series are bounded: what comes on top is one series for each policy whose labels say `other`. Those
of containers which broke nothing for long make room, and are added to it, so that the sum is right.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eunomia_agent.containers.owner import Owner
from eunomia_api import agent_pb2

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

LABELS = ("policy", "node", "rule", "namespace", "pod", "container", "container_id")
MAX_SERIES = 1000
"""Of one policy."""
QUIET_SECONDS = 600.0
NAMES: Mapping[int, str] = {
    agent_pb2.SEVERITY_EVENT: "events",
    agent_pb2.SEVERITY_WARNING: "warnings",
    agent_pb2.SEVERITY_ALERT: "alerts",
}
Labels = tuple[str, ...]


@dataclass(slots=True)
class _Series:
    number: int = 0
    counted_at: float = 0.0


class Security:
    """Counts alerts. Counted on the data thread, read on any."""

    def __init__(self, node: str) -> None:
        self.node = node
        self._lock = threading.Lock()
        self._series: dict[str, dict[tuple[int, Labels], _Series]] = {}
        """By policy, then by severity and labels, the one that was counted longest ago first."""

    def count(self, policy: str, rule: str, severity: int, owner: Owner) -> None:
        """Count an alert. policy: NAMESPACE/NAME, or NAME of one of the whole cluster."""
        whose = (owner.namespace, owner.pod, owner.container, owner.short_id)
        labels: Labels = (policy, self.node, rule, *whose)
        others: Labels = (policy, self.node, *["other"] * (len(LABELS) - 2))
        with self._lock:
            series = self._series.setdefault(policy, {})
            if (severity, labels) not in series and not self._make_room(series, others):
                labels = others
            _add(series, (severity, labels), 1)

    def _make_room(self, series: dict[tuple[int, Labels], _Series], others: Labels) -> bool:
        if len(series) < MAX_SERIES:
            return True
        oldest = next((key for key in series if key[1] != others), None)
        if oldest is None or time.monotonic() - series[oldest].counted_at < QUIET_SECONDS:
            return False
        _add(series, (oldest[0], others), series.pop(oldest).number)
        return True

    def forget(self, policy: str) -> None:
        """Drop the series of a policy that is gone."""
        with self._lock:
            self._series.pop(policy, None)

    def collect(self) -> "Iterable[Family]":
        """Return the counters, for prometheus_client."""
        from prometheus_client.core import (  # noqa: PLC0415  (only who is scraped needs it)
            CounterMetricFamily,
        )

        families = {
            severity: CounterMetricFamily(
                f"eunomia_security_{name}",
                f"Rules of severity {name.removesuffix('s')} that were broken.",
                labels=LABELS,
            )
            for severity, name in NAMES.items()
        }
        with self._lock:
            for series in self._series.values():
                for (severity, labels), each in series.items():
                    families[severity].add_metric(labels, each.number)
        return families.values()


def _add(series: dict[tuple[int, Labels], _Series], key: tuple[int, Labels], number: int) -> None:
    each = series.pop(key, _Series())
    series[key] = _Series(each.number + number, time.monotonic())
