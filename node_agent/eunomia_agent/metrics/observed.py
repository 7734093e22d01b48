# SPDX-License-Identifier: Apache-2.0
"""The metrics that trackers describe for themselves: delivered rows, counted by label.

A job is a label (`tracejob`), because two jobs may see the same event. Each metric has at most as
many series a job as its tracker allows; what comes on top is one series whose labels say `other`,
so that the sum stays right.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric as Family

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.job import name_of
from eunomia_agent.trackers.catalogue import Metric, Tracker
from eunomia_api import agent_pb2

OWNER_LABELS = ("tracejob", "node", "namespace", "pod", "container", "container_id")
Labels = tuple[str, ...]


class Observed:
    """Counts rows for the metrics of all trackers. Counted on the data thread, read on any."""

    def __init__(self, trackers: Mapping[str, Tracker], node: str) -> None:
        self._trackers = trackers
        self._node = node
        self._counts: dict[tuple[str, str], Counter[Labels]] = {}
        """By (uid of the job, name of the metric)."""
        self._metrics = {
            name: metric
            for tracker in trackers.values()
            for name, metric in tracker.metrics.items()
        }

    def count(self, job: agent_pb2.Job, tracker: str, rows: Batch, owner: Owner) -> None:
        """Count rows of one cgroup, delivered to one job."""
        for name, metric in self._trackers[tracker].metrics.items():
            counts = self._counts.setdefault((job.uid, name), Counter())
            head = (
                name_of(job),
                self._node,
                owner.namespace,
                owner.pod,
                owner.container,
                owner.short_id,
            )
            for values, number in _values(metric, rows).items():
                labels = (*head, *values)
                if labels not in counts and len(counts) >= metric.max_series:
                    labels = (*head[:2], *["other"] * (len(labels) - 2))
                counts[labels] += number

    def forget(self, uid: str) -> None:
        """Drop the series of a job that is gone."""
        for key in [key for key in self._counts if key[0] == uid]:
            del self._counts[key]

    def collect(self) -> Iterable[Family]:
        """Return the counters, for prometheus_client."""
        families: dict[str, CounterMetricFamily] = {}
        for (_, name), counts in list(self._counts.items()):
            metric = self._metrics[name]
            family = families.setdefault(
                name,
                CounterMetricFamily(name, metric.help, labels=[*OWNER_LABELS, *metric.labels]),
            )
            for labels, number in list(counts.items()):
                family.add_metric(labels, number)
        return families.values()


def _values(metric: Metric, rows: Batch) -> Counter[Labels]:
    """Return the number of rows for each set of values of the metric's own labels."""
    columns = [rows.text(label) for label in metric.labels]
    conditions = [(rows.text(name), str(value)) for name, value in metric.where.items()]
    wanted = (
        index
        for index in range(len(rows))
        if all(texts[index] == value for texts, value in conditions)
    )
    return Counter(tuple(column[index] for column in columns) for index in wanted)
