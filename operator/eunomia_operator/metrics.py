# SPDX-License-Identifier: Apache-2.0
"""The operator's own metrics."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from eunomia_api.tracejob import Phase
from eunomia_operator.security_metrics import SecurityMetrics


class PolicyState(StrEnum):
    """Where a policy stands."""

    READY = "Ready"
    PENDING = "Pending"
    REFUSED = "Refused"


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.leader = self._gauge("leader", "Whether this replica leads.")
        self.sessions = self._gauge("sessions", "Agents that are connected.")
        self.generation = self._gauge("desired_generation", "Generation of the desired state.")
        self.jobs = Gauge(
            "eunomia_operator_jobs", "Jobs by phase.", ["phase"], registry=self.registry
        )
        for phase in Phase:
            self.jobs.labels(phase.value)
        self.policies = Gauge(
            "eunomia_operator_policies",
            "Policies by where they stand.",
            ["state"],
            registry=self.registry,
        )
        for state in PolicyState:
            self.policies.labels(state.value)
        self.reports = self._counter("reports", "Reports of agents.")
        self.bad_reports = self._counter("bad_reports", "Parts of reports that cannot be true.")
        self.refused_alerts = self._counter(
            "refused_alerts", "Alerts of agents that cannot be true, or for which was no room."
        )
        self.unwritten_reports = self._counter(
            "failed_alert_report_calls", "AlertReports that could not be read or written."
        )
        self.security = SecurityMetrics(self.registry)
        self.refusals = Counter(
            "eunomia_operator_refused_streams",
            "Streams that were refused or ended for what the agent showed or said.",
            ["code"],
            registry=self.registry,
        )
        self.status_writes = Counter(
            "eunomia_operator_status_writes",
            "Writes of statuses.",
            ["result"],
            registry=self.registry,
        )
        self.reconcile = Histogram(
            "eunomia_operator_reconcile_seconds",
            "Time to bring desired states and statuses up to date.",
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
            registry=self.registry,
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"eunomia_operator_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"eunomia_operator_{name}", text, registry=self.registry)
