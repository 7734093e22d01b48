# SPDX-License-Identifier: Apache-2.0
"""Writes statuses in the background, and deletes what is over and out of time."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from pydantic import BaseModel

from eunomia_operator.errors import ClusterError
from eunomia_operator.metrics import Metrics
from eunomia_operator.objects.followed import Followed
from eunomia_operator.objects.world import Resource

logger = logging.getLogger("eunomia.control")

WRITES_AT_ONCE = 8


class StatusStore(Protocol):
    """Where statuses are written."""

    async def patch_status(self, resource: Resource, status: dict[str, object], /) -> None:
        """Write the status of a job or policy."""
        ...

    async def delete_job(self, job: Resource, /) -> None:
        """Delete a job."""
        ...


class Publisher:
    """Never more than one write of an object at a time; what failed is tried later and later."""

    def __init__(self, store: StatusStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, followed: Followed[Any], now: float) -> None:
        """Begin to write or to delete, if that is due."""
        status = followed.begin_write(now)
        if status is not None:
            self._begin(self._write(followed, status))
            return
        if followed.writing or followed.status != followed.written:
            # Who watches it shall read how it ended before it is gone.
            return
        due = followed.delete_at()
        if due is not None and now >= max(due, followed.retry_at) and not followed.deleting:
            followed.deleting = True
            self._begin(self._delete(followed))

    async def close(self) -> None:
        """Let go of what is being written."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, followed: Followed[Any], status: BaseModel) -> None:
        try:
            async with self._writes:
                await self._store.patch_status(followed.object, to_patch(status))
            followed.note_written(status)
            self._metrics.status_writes.labels("done").inc()
        except ClusterError as error:
            self._note_failure(followed, error)
        finally:
            followed.writing = False

    async def _delete(self, followed: Followed[Any]) -> None:
        resource = followed.object
        try:
            await self._store.delete_job(resource)
            logger.info("deleted %s %s: its time is over", resource.kind, resource.name)
        except ClusterError as error:
            self._note_failure(followed, error)
            followed.deleting = False

    def _note_failure(self, followed: Followed[Any], error: ClusterError) -> None:
        followed.note_failure(time.time())
        self._metrics.status_writes.labels("gone" if error.gone else "failed").inc()
        if not error.gone:
            logger.warning("will try again: %s", error)


def to_patch(status: BaseModel) -> dict[str, object]:
    """Return the merge patch of a whole status: what is None there is removed."""
    return status.model_dump(by_alias=True, mode="json")
