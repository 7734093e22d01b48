# SPDX-License-Identifier: Apache-2.0
"""Broken rules as Prometheus counts them, by policy, namespace of the pod and rule."""

from prometheus_client import CollectorRegistry, Counter

from eunomia_operator.objects.world import Reference

LABELS = ("policy", "namespace", "rule")
OTHER = "other"
MOST_SERIES = 2000
"""Of one policy: what comes above is counted with the namespace `other`."""


class SecurityMetrics:
    """eunomia_operator_security_events_total, …_warnings_total and …_alerts_total.

    policy: its name; of a ClusterSecurityPolicy NAME, cluster/NAME. Those of a policy that is gone
    are gone.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counters = {
            severity: Counter(
                f"eunomia_operator_security_{severity}s",
                f"Broken rules of severity {severity}.",
                LABELS,
                registry=registry,
            )
            for severity in ("event", "warning", "alert")
        }
        self._series: dict[str, set[tuple[str, tuple[str, ...]]]] = {}

    def count(self, policy: Reference, severity: str, namespace: str, rule: str) -> None:
        """Count an alert of a policy. namespace: of the pod; empty of what is in none."""
        name = policy.name if policy.namespace else f"cluster/{policy.name}"
        known = self._series.setdefault(policy.uid, set())
        labels = (name, namespace, rule)
        if (severity, labels) not in known and len(known) >= MOST_SERIES:
            labels = (name, OTHER, rule)
        known.add((severity, labels))
        self._counters[severity].labels(*labels).inc()

    def forget(self, uid: str) -> None:
        """Remove what was counted of a policy."""
        for severity, labels in self._series.pop(uid, ()):
            self._counters[severity].remove(*labels)
