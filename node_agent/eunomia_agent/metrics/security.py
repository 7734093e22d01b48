# SPDX-License-Identifier: Apache-2.0
"""How often rules were broken, by severity: what guards count, those above a rate included.

Series are bounded: what comes on top is one series for each policy whose labels say `other`.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from eunomia_agent.containers.owner import Owner
from eunomia_api import agent_pb2

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

LABELS = ("policy", "node", "rule", "namespace", "pod", "container", "container_id")
MAX_SERIES = 1000
"""Of one policy."""
NAMES: Mapping[int, str] = {
    agent_pb2.SEVERITY_EVENT: "events",
    agent_pb2.SEVERITY_WARNING: "warnings",
    agent_pb2.SEVERITY_ALERT: "alerts",
}
Labels = tuple[str, ...]


class Security:
    """Counts alerts. Counted on the data thread, read on any."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._series: dict[str, dict[tuple[int, Labels], int]] = {}
        """By policy, then by severity and labels."""

    def count(self, policy: str, rule: str, severity: int, owner: Owner) -> None:
        """Count an alert. policy: NAMESPACE/NAME, or NAME of one of the whole cluster."""
        series = self._series.setdefault(policy, {})
        whose = (owner.namespace, owner.pod, owner.container, owner.short_id)
        labels: Labels = (policy, self._node, rule, *whose)
        if (severity, labels) not in series and len(series) >= MAX_SERIES:
            labels = (policy, self._node, *["other"] * (len(LABELS) - 2))
        series[severity, labels] = series.get((severity, labels), 0) + 1

    def forget(self, policy: str) -> None:
        """Drop the series of a policy that is gone."""
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
        for series in list(self._series.values()):
            for (severity, labels), number in list(series.items()):
                families[severity].add_metric(labels, number)
        return families.values()
