# SPDX-License-Identifier: Apache-2.0
"""`python -m eunomia_operator`: wait for the Lease, lead, and give it back."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator

from eunomia_operator import logs, web
from eunomia_operator.admission.replica import Admission
from eunomia_operator.cluster import lists
from eunomia_operator.cluster.client import Cluster, connect
from eunomia_operator.errors import ClusterError, LeaseLost, OperatorError, SettingsInvalid
from eunomia_operator.leader import Leader
from eunomia_operator.metrics import Metrics
from eunomia_operator.settings import Settings, from_environment

logger = logging.getLogger("eunomia")

SILENCE_SECONDS = 15.0
"""A replica that has not heard the API server for so long is not ready."""


class Replica:
    """One process of the operator."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._cluster = cluster
        self._metrics = Metrics()
        self._election = cluster.election()
        self._leader = Leader(settings, cluster, self._metrics)
        self._admission = Admission(cluster, settings)
        self._leads = False
        self._unlisted: str | None = "has not looked yet what there is"
        self._settings = settings

    async def run(self) -> None:
        """Serve probes and webhook, take the Lease and lead, until cancelled. Raises LeaseLost."""
        async with (
            web.serve(
                self._settings.http_address, self._metrics.registry, self.unhealthy, self.unready
            ),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._admission.run())
            tasks.create_task(self._find_kinds())
            tasks.create_task(self._lead())

    async def _find_kinds(self) -> None:
        """Find out whether this replica could lead: an update waits for it to be ready."""
        while self._unlisted is not None:
            self._unlisted = await lists.missing(self._cluster.list)
            if self._unlisted is not None:
                await asyncio.sleep(lists.RETRY_SECONDS)

    async def _lead(self) -> None:
        logger.info("%s waits for the Lease", self._settings.identity)
        await self._election.win()
        self._leads = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._leader.lead())
                tasks.create_task(self._hold())
        finally:
            with contextlib.suppress(ClusterError):
                await self._cluster.release_lease()

    async def _hold(self) -> None:
        await self._election.hold()
        raise LeaseLost("the Lease could not be renewed in time")

    def unhealthy(self) -> str | None:
        """Return what is wrong with this process; None when nothing is."""
        return "the control loop is stuck" if self._leader.stuck else None

    def unready(self) -> str | None:
        """Return why this replica is not ready; None when it is."""
        if time.monotonic() - self._cluster.answered_at > SILENCE_SECONDS:
            return "the API server does not answer"
        if self._leads and not self._leader.listening:
            return "begins to lead"
        return None if self._leads else self._unlisted


async def run(settings: Settings) -> None:
    """Run one replica until a signal comes. Raises OperatorError."""
    loop = asyncio.get_running_loop()
    async with connect(settings) as cluster:
        task = asyncio.create_task(Replica(settings, cluster).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        logger.info("stopped")


def _innermost(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _innermost(inner)
    else:
        yield error


def main() -> int:
    """Return the exit code: 2 for settings that cannot be used, 1 when leading ended badly."""
    try:
        settings = from_environment(os.environ)
    except SettingsInvalid as error:
        print(f"eunomia_operator: {error}", file=sys.stderr)
        return 2
    logs.set_up(settings.log_level)
    failed = False
    try:
        asyncio.run(run(settings))
    except* OperatorError as group:
        failed = True
        for failure in _innermost(group):
            logger.error("ends: %s", failure)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
