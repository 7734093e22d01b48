# SPDX-License-Identifier: Apache-2.0
"""Writes statuses in the background, and deletes jobs whose time is over."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Protocol

from eunomia_api.tracejob import TraceJobStatus
from eunomia_operator.errors import ClusterError
from eunomia_operator.job import Job
from eunomia_operator.metrics import Metrics
from eunomia_operator.status import to_patch
from eunomia_operator.world import JobObject

logger = logging.getLogger("eunomia.control")

WRITES_AT_ONCE = 8


class StatusStore(Protocol):
    """Where statuses are written."""

    async def patch_status(self, job: JobObject, status: dict[str, object]) -> None:
        """Write the status of a job."""
        ...

    async def delete_job(self, job: JobObject) -> None:
        """Delete a job."""
        ...


class Publisher:
    """Never more than one write of a job at a time; what failed is tried again, later each time."""

    def __init__(self, store: StatusStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, job: Job, now: float) -> None:
        """Begin to write or to delete, if that is due."""
        if job.is_write_due(now):
            job.writing = True
            self._begin(self._write(job, job.status))
            return
        if job.writing or job.status != job.written:
            # Who watches the job shall read how it ended before it is gone.
            return
        due = job.delete_at()
        if due is not None and now >= max(due, job.retry_at) and not job.deleting:
            job.deleting = True
            self._begin(self._delete(job))

    async def close(self) -> None:
        """Let go of what is being written."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, job: Job, status: TraceJobStatus) -> None:
        try:
            async with self._writes:
                await self._store.patch_status(job.object, to_patch(status))
            job.note_written(status, time.time())
            self._metrics.status_writes.labels("done").inc()
        except ClusterError as error:
            self._note_failure(job, error)
        finally:
            job.writing = False

    async def _delete(self, job: Job) -> None:
        try:
            await self._store.delete_job(job.object)
            logger.info("deleted %s %s: its time is over", job.object.kind, job.object.name)
        except ClusterError as error:
            self._note_failure(job, error)
            job.deleting = False

    def _note_failure(self, job: Job, error: ClusterError) -> None:
        job.note_failure(time.time())
        self._metrics.status_writes.labels("gone" if error.gone else "failed").inc()
        if not error.gone:
            logger.warning("will try again: %s", error)
