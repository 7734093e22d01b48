# SPDX-License-Identifier: Apache-2.0
"""The metrics that trackers describe for themselves, made of the rows that were delivered.

A job is a label (`tracejob`), because two jobs may see the same event. Each metric has at most as
many series a job as its tracker allows; what comes on top is one series whose labels say `other`,
so that the sum stays right.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.group import groups
from eunomia_agent.trackers.catalogue import Metric, Tracker
from eunomia_agent.wanted import name_of
from eunomia_api import agent_pb2

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

OWNER_LABELS = ("tracejob", "node", "namespace", "pod", "container", "container_id")
Labels = tuple[str, ...]
STALE_INTERVALS = 3
"""Intervals without a row after which a gauge is no longer shown."""


@dataclass(slots=True)
class _Series:
    """The series of one metric for one job: value by labels, and of a gauge when it was set."""

    metric: Metric
    values: dict[Labels, int] = field(default_factory=dict[Labels, int])
    stale_at: dict[Labels, float] = field(default_factory=dict[Labels, float])
    """Of a gauge: when each is no longer shown, the one that was set longest ago first."""

    def add(self, labels: Labels, number: int) -> None:
        labels = self._room(labels)
        self.values[labels] = self.values.get(labels, 0) + number

    def set(self, labels: Labels, number: int, stale_at: float) -> None:
        self._drop_stale()
        labels = self._room(labels)
        self.stale_at.pop(labels, None)
        self.values[labels], self.stale_at[labels] = number, stale_at

    def _room(self, labels: Labels) -> Labels:
        if labels in self.values or len(self.values) < self.metric.max_series:
            return labels
        return (*labels[:2], *["other"] * (len(labels) - 2))

    def _drop_stale(self) -> None:
        now = time.monotonic()
        while self.stale_at:
            labels, until = next(iter(self.stale_at.items()))
            if until >= now:
                return
            del self.values[labels], self.stale_at[labels]


class Observed:
    """Counts rows for the metrics of all trackers. Counted on the data thread, read on any."""

    def __init__(self, trackers: Mapping[str, Tracker], node: str) -> None:
        self._trackers = trackers
        self._node = node
        self._series: dict[tuple[str, str], _Series] = {}
        """By (uid of the job, name of the metric)."""

    def count(
        self,
        job: agent_pb2.Job,
        tracker: str,
        rows: Batch,
        owner: Owner,
        interval: float | None = None,
    ) -> None:
        """Count rows of one cgroup, delivered to one job. interval: seconds, of what has one."""
        head = (
            name_of(job),
            self._node,
            owner.namespace,
            owner.pod,
            owner.container,
            owner.short_id,
        )
        for name, metric in self._trackers[tracker].metrics.items():
            if metric.source != rows.layout.source:
                continue
            series = self._series.get((job.uid, name))
            if series is None:
                series = self._series[job.uid, name] = _Series(metric)
            for labels, number in _values(metric, rows):
                if metric.kind == "gauge":
                    stale_at = time.monotonic() + STALE_INTERVALS * (interval or 0.0)
                    series.set((*head, *labels), number, stale_at)
                else:
                    series.add((*head, *labels), number)

    def forget(self, uid: str) -> None:
        """Drop the series of a job that is gone."""
        for key in [key for key in self._series if key[0] == uid]:
            del self._series[key]

    def collect(self) -> "Iterable[Family]":
        """Return the counters and gauges, for prometheus_client."""
        from prometheus_client.core import (  # noqa: PLC0415  (only who is scraped needs it)
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for (_, name), series in list(self._series.items()):
            metric = series.metric
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = families.setdefault(
                name, kind(name, metric.help, labels=[*OWNER_LABELS, *_names(metric)])
            )
            now = time.monotonic()
            for labels, number in list(series.values.items()):
                if series.stale_at.get(labels, now) >= now:
                    family.add_metric(labels, number / metric.divide_by)
        return families.values()


def _names(metric: Metric) -> list[str]:
    return [metric.names.get(label, label) for label in metric.labels]


def _values(metric: Metric, rows: Batch) -> Iterator[tuple[Labels, int]]:
    """Give the number for each set of values of the metric's own labels."""
    wanted = [
        {*map(str, values if isinstance(values, list) else [values])}
        for values in metric.where.values()
    ]
    for values, number in groups(rows, (*metric.where, *metric.labels), add=metric.value):
        conditions, labels = values[: len(wanted)], values[len(wanted) :]
        if all(value in among for value, among in zip(conditions, wanted, strict=True)):
            yield labels, number
