# SPDX-License-Identifier: Apache-2.0
"""What is handed to sinks: rows of one owner and one tracker, rendered when a sink asks for it."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Layout, Source
from eunomia_agent.events.lines import Lines
from eunomia_agent.events.template import take, template_of
from eunomia_agent.sinks.clock import boot_offset_ns
from eunomia_api.where import KUBERNETES_API, LABELS

if TYPE_CHECKING:
    from eunomia_agent.events.where.scope import Constants

SUBJECT = ("comm", "pid", "tid", "uid")
"""Columns of the subject that rows show, in their order, before the tracker's own."""
NOT_KNOWN = frozenset({"pending", "unknown"})
"""Kinds of owners of whom nobody knows what labels they have."""


class Rows:
    """Rows of one owner, of one result of a tracker.

    source: which result; interval: seconds that a row sums up, None of events; offset_ns: see
    clock.boot_offset_ns, by default as of now; lines: the rows as JSON, where they are made
    already; kubernetes_api: see eunomia_api.where.KUBERNETES_API.
    """

    def __init__(
        self,
        batch: Batch,
        owner: Owner,
        tracker: str,
        *,
        node: str,
        source: Source = "events",
        interval: float | None = None,
        offset_ns: int | None = None,
        lines: Lines | None = None,
        kubernetes_api: str = "",
    ) -> None:
        self.batch = batch
        self.owner = owner
        self.tracker = tracker
        self.node = node
        self.source: Source = source
        self.interval = interval
        self.offset_ns = boot_offset_ns() if offset_ns is None else offset_ns
        self.kubernetes_api = kubernetes_api
        self._lines = lines
        self._whole: tuple[Rows, NDArray[np.intp]] | None = None

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def constants(self) -> "Constants":
        """What is the same in all rows, as a condition may name it."""
        around = {"node": self.node, KUBERNETES_API: self.kubernetes_api}
        return {**around, **named(self.owner)}

    @property
    def weight(self) -> int:
        """How many events the rows stand for."""
        return self.batch.weight

    def take(self, index: slice | NDArray[np.intp] | NDArray[np.bool_]) -> "Rows":
        """Return some of the rows, by slice, index or mask.

        They share what is rendered, and render these rows for all when they are half of them.
        """
        chosen = np.arange(len(self))[index]
        if len(chosen) == len(self) and np.array_equal(chosen, np.arange(len(self))):
            return self
        part = Rows(
            self.batch.take(index),
            self.owner,
            self.tracker,
            node=self.node,
            source=self.source,
            interval=self.interval,
            offset_ns=self.offset_ns,
            kubernetes_api=self.kubernetes_api,
        )
        part._whole = self, chosen
        return part

    def json(self) -> Lines:
        """Return one JSON object a row, ASCII. They are rendered once, and kept.

        Keys: time (RFC 3339, nanoseconds, UTC), node, namespace, pod, container, container_id (12
        characters), owner and cgroup (only where it is no container: host, unknown …, and the
        path of its cgroup, "" where that is not known), tracker, source and interval (seconds; both
        only where the rows are no events), comm, pid, tid, uid where there are such columns, and
        the tracker's columns in their order.
        """
        if self._lines is None:
            self._lines = self._part_of_whole() or self._render()
            self._whole = None
        return self._lines

    def _part_of_whole(self) -> Lines | None:
        if self._whole is None:
            return None
        whole, index = self._whole
        if whole._lines is None and len(index) * 2 < len(whole):
            return None
        return take(whole.json(), index)

    def _render(self) -> Lines:
        layout = self.batch.layout
        constant = _constant(self.owner, self.node, self.tracker, self.source, self.interval)
        return template_of(layout, shown(layout)).render(self.batch, constant, self.offset_ns)


def named(owner: Owner) -> "Constants":
    """Return what a condition may name of an owner."""
    return {
        "namespace": owner.namespace,
        "pod": owner.pod,
        "pod_uid": owner.pod_uid,
        "container": owner.container,
        "container_id": owner.short_id,
        "image": owner.image,
        LABELS: None if owner.kind in NOT_KNOWN else owner.labels,
    }


@lru_cache(maxsize=64)
def shown(layout: Layout) -> tuple[str, ...]:
    """Return the names of a row's own columns, in their order: the subject's first."""
    names = [column.name for column in layout.columns if not column.internal]
    subject = [name for name in SUBJECT if name in names]
    return (*subject, *(name for name in names if name not in SUBJECT and name != "time"))


@lru_cache(maxsize=1024)
def _constant(
    owner: Owner, node: str, tracker: str, source: Source, interval: float | None
) -> bytes:
    """Return the members that all rows share, as JSON without braces."""
    same = {
        "node": node,
        "namespace": owner.namespace,
        "pod": owner.pod,
        "container": owner.container,
        "container_id": owner.short_id,
        **({} if owner.kind == "container" else {"owner": owner.kind, "cgroup": owner.path}),
        "tracker": tracker,
        **({} if source == "events" else {"source": source}),
        **({} if interval is None else {"interval": interval}),
    }
    return json.dumps(same, separators=(",", ":"))[1:-1].encode("ascii")
