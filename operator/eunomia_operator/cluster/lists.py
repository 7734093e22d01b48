# SPDX-License-Identifier: Apache-2.0
"""Lists of all that is watched, each kind by itself: at the start, and now and then after it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from eunomia_api import GROUP
from eunomia_operator.errors import ClusterError, OperatorError
from eunomia_operator.objects.world import KINDS, Body, Kind, World

logger = logging.getLogger("eunomia.lists")

RELIST_SECONDS = 60.0
ABSENT_SECONDS = 15.0
"""Between two looks for a kind that was not there."""
RELIST_PAUSE_SECONDS = 2.0
RETRY_SECONDS = 2.0
COMPLAINT_SECONDS = 60.0
"""Between two lines in the log about one kind."""

ORDER = (Kind.NODES, Kind.NAMESPACES, *KINDS)
"""Where a list fails, what all others need is there already."""
DISPENSABLE = frozenset(
    {Kind.SECURITY_POLICIES, Kind.CLUSTER_SECURITY_POLICIES, Kind.SECCOMP_PROFILES}
)
"""Jobs are served without them, while their CustomResourceDefinitions are not installed yet."""


Fetch = Callable[[Kind], Awaitable[list[Body]]]
"""Returns all objects of a kind, or raises ClusterError."""


async def missing(fetch: Fetch) -> str | None:
    """Return why one of the kinds cannot be listed; None when all can."""
    for kind in ORDER:
        try:
            await fetch(kind)
        except ClusterError as error:
            return why_not(kind, error)
    return None


class Lists:
    """Keeps a world true where the watch does not."""

    def __init__(self, fetch: Fetch, world: World) -> None:
        self._fetch = fetch
        self._world = world
        self._asked = asyncio.Event()
        self._absent: frozenset[Kind] = frozenset()
        self._complained: dict[Kind, float] = {}

    def ask(self) -> None:
        """List soon."""
        self._asked.set()

    async def begin(self) -> None:
        """Return once all is known, but for kinds that can be done without and are not there."""
        while True:
            failed = await self._look()
            absent = frozenset(kind for kind, error in failed.items() if error.status == 404)
            if len(absent) == len(failed) and absent <= DISPENSABLE:
                # Jobs, of the same group, were listed: the API server knows its resources.
                self._absent = absent
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def keep(self) -> None:
        """List again and again. Raises OperatorError once a kind is there that was not."""
        while True:
            try:
                async with asyncio.timeout(ABSENT_SECONDS if self._absent else RELIST_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            failed = await self._look()
            come = sorted(self._absent - failed.keys())
            if come:
                # The watch looks once, at its start, which kinds there are.
                raise OperatorError(f"{', '.join(come)} can be listed now: begins anew with them")
            await asyncio.sleep(RELIST_PAUSE_SECONDS)

    async def _look(self) -> Mapping[Kind, ClusterError]:
        """Take in one list of each kind; return those that failed."""
        failed: dict[Kind, ClusterError] = {}
        for kind in ORDER:
            mark = self._world.mark()
            try:
                self._world.replace(kind, await self._fetch(kind), mark)
            except ClusterError as error:
                failed[kind] = error
                self._complain(kind, error)
        return failed

    def _complain(self, kind: Kind, error: ClusterError) -> None:
        now = time.monotonic()
        if now >= self._complained.get(kind, -COMPLAINT_SECONDS) + COMPLAINT_SECONDS:
            self._complained[kind] = now
            logger.warning("%s", why_not(kind, error))


def why_not(kind: Kind, error: ClusterError) -> str:
    """Return why a kind cannot be listed, and what is to be done."""
    if kind in KINDS and error.status == 404:
        return (
            f"the CustomResourceDefinition {kind}.{GROUP} is not installed: kubectl apply -k crds;"
            f" {kind} wait for it"
        )
    if kind in KINDS and error.status == 403:
        return f"{kind} wait for a ClusterRole that lets the operator list them: {error}"
    return f"cannot list {kind}: {error}"
