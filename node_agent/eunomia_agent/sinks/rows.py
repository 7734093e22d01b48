# SPDX-License-Identifier: Apache-2.0
"""A batch of one cgroup's events as JSON lines, made column by column."""

import json

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.sinks.clock import rfc3339

SUBJECT = ("comm", "pid", "tid", "uid")
"""Columns of the subject that rows show, in their order, before the tracker's own."""


def json_rows(
    batch: Batch, owner: Owner, *, node: str, tracker: str, offset_ns: int
) -> list[bytes]:
    """Return one JSON object a row, ASCII, without a newline.

    Keys: time (RFC 3339, nanoseconds, UTC), node, namespace, pod, container, container_id (12
    characters), owner (only where it is no container: host, unknown …), tracker, comm, pid, tid,
    uid, and the tracker's columns in their order. offset_ns: see clock.boot_offset_ns.
    """
    names = [column.name for column in batch.layout.columns if not column.internal]
    own = [name for name in names if name not in SUBJECT and name != "time"]
    shown = [*SUBJECT, *own]
    columns = [rfc3339(batch.fixed["time"], offset_ns), *map(batch.json, shown)]
    row = _template(owner, node, tracker, shown)
    return [(row % values).encode("ascii") for values in zip(*columns, strict=True)]


def _template(owner: Owner, node: str, tracker: str, columns: list[str]) -> str:
    """Return a row with %s for its time and for each of its columns."""
    same = {
        "node": node,
        "namespace": owner.namespace,
        "pod": owner.pod,
        "container": owner.container,
        "container_id": owner.short_id,
        **({} if owner.kind == "container" else {"owner": owner.kind}),
        "tracker": tracker,
    }
    constant = json.dumps(same, separators=(",", ":"))[1:-1].replace("%", "%%")
    changing = ",".join(f"{json.dumps(name)}:%s" for name in columns)
    return '{"time":"%s",' + constant + "," + changing + "}"
