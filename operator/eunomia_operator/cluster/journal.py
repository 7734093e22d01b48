# SPDX-License-Identifier: Apache-2.0
"""Kubernetes Events, written in the background.

The same news of an object is one Event whose count goes up. One of which there is much to tell is
held to a rate; what is above it is left out of the Events, never out of the status.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

from eunomia_operator import clock
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.world import Reference
from eunomia_operator.settings import NAME
from eunomia_operator.status.news import News

logger = logging.getLogger("eunomia.journal")

BURST = 20
REFILL_SECONDS = 10.0
REMEMBERED = 2048
WAITING = 1024
LONGEST_MESSAGE = 1024
SAME_EVENT_SECONDS = 600.0


class EventStore(Protocol):
    """Where Events are written."""

    async def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        """Create an Event."""
        ...

    async def patch_event(self, namespace: str, name: str, changes: dict[str, Any]) -> None:
        """Change an Event."""
        ...


@dataclass(slots=True)
class _Written:
    """An Event that was written."""

    name: str
    count: int
    at: float


@dataclass(slots=True)
class _Allowance:
    """What may still be told of an object."""

    tokens: float
    at: float

    def take(self, now: float) -> bool:
        self.tokens = min(BURST, self.tokens + (now - self.at) / REFILL_SECONDS)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Journal:
    """Writes Events one after the other; never makes anybody wait."""

    def __init__(self, store: EventStore, identity: str) -> None:
        self._store = store
        self._identity = identity
        self._queue: asyncio.Queue[tuple[Reference, News, float]] = asyncio.Queue(WAITING)
        self._written: OrderedDict[tuple[str, News | str], _Written] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()

    def tell(self, about: Reference, news: News, now: float) -> None:
        """Queue news of an object; drop it when there was too much of it."""
        allowance = self._allowances.setdefault(about.uid, _Allowance(BURST, now))
        self._allowances.move_to_end(about.uid)
        _bound(self._allowances)
        if not allowance.take(now) or self._queue.full():
            logger.debug("left out of the Events of %s: %s", about.name, news)
            return
        self._queue.put_nowait((about, news, now))

    async def run(self) -> None:
        """Write what is queued, until cancelled."""
        while True:
            about, news, now = await self._queue.get()
            try:
                await self._write(about, news, now)
            except ClusterError as error:
                logger.warning("an Event is lost: %s", error)

    async def _write(self, about: Reference, news: News, now: float) -> None:
        namespace = about.namespace or "default"
        same = about.uid, news.topic or news
        known = self._written.get(same)
        if known is not None and now - known.at < SAME_EVENT_SECONDS:
            self._written.move_to_end(same)
            known.count += 1
            known.at = now
            changes = {
                "count": known.count,
                "lastTimestamp": clock.written(now),
                "message": news.message[:LONGEST_MESSAGE],
            }
            try:
                return await self._store.patch_event(namespace, known.name, changes)
            except ClusterError as error:
                if not error.gone:
                    raise
        event = self._event(about, news, namespace, now)
        self._written[same] = _Written(event["metadata"]["name"], 1, now)
        _bound(self._written)
        await self._store.create_event(namespace, event)
        return None

    def _event(self, about: Reference, news: News, namespace: str, now: float) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about.name[:200].rstrip('.-')}.{secrets.token_hex(8)}",
                "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": news.type,
            "reason": news.reason,
            "message": news.message[:LONGEST_MESSAGE],
            "firstTimestamp": clock.written(now),
            "lastTimestamp": clock.written(now),
            "count": 1,
            "source": {"component": NAME},
            "reportingComponent": NAME,
            "reportingInstance": self._identity[:128],
        }


def _bound(memory: OrderedDict[Any, Any]) -> None:
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
