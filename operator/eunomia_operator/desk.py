# SPDX-License-Identifier: Apache-2.0
"""Takes in the alerts of all nodes: each is counted, told and written down once."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from eunomia_api import agent_pb2
from eunomia_operator import alerts, clock
from eunomia_operator.alertbook import AlertBook
from eunomia_operator.alerts import Alert
from eunomia_operator.errors import ClusterError
from eunomia_operator.metrics import Metrics
from eunomia_operator.news import News
from eunomia_operator.policy import Policy
from eunomia_operator.receipts import Answer, Receipts
from eunomia_operator.world import Reference

logger = logging.getLogger("eunomia.alerts")

WRITES_AT_ONCE = 4
MOST_PENDING = 1000
"""Alerts of a policy that wait until its AlertReport has been read."""
MOST_IN_A_MESSAGE = 200


class ReportStore(Protocol):
    """Where AlertReports are kept."""

    async def read_alerts(self, policy: Reference, /) -> Mapping[str, Any] | None:
        """Return the AlertReport of a policy; None when there is none."""
        ...

    async def write_alerts(
        self, policy: Reference, fields: Mapping[str, object], /, *, exists: bool
    ) -> None:
        """Write the AlertReport of a policy."""
        ...


class Isolate(Protocol):
    """Cuts pods off the network."""

    def ask(self, policy: Policy, alert: Alert, now: float, /) -> None:
        """Ask for the pod of an alert to be cut off."""
        ...


class _Open:
    """The book of a policy, and what waits for it to be read back."""

    def __init__(self) -> None:
        self.book = AlertBook()
        self.read = False
        self.pending: list[Alert] = []


class Desk:
    """What the alerts of all policies go through."""

    def __init__(
        self,
        store: ReportStore,
        tell: Callable[[Reference, News, float], None],
        metrics: Metrics,
        isolation: Isolate,
    ) -> None:
        self.wake: Callable[[], None] = _nobody
        """Called when `look` has something to do."""
        self._store = store
        self._tell = tell
        self._metrics = metrics
        self._isolation = isolation
        self._open: dict[str, _Open] = {}
        self._receipts = Receipts()
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(
        self,
        node: str,
        told: agent_pb2.Alerts,
        answer: Answer,
        policies: Mapping[str, Policy],
        now: float,
    ) -> None:
        """Take in a message of a node. policies: by uid, those that there are."""
        sequence = 0
        awaited: dict[str, int] = {}
        for each in told.alerts[:MOST_IN_A_MESSAGE]:
            sequence = max(sequence, each.sequence)
            policy = policies.get(each.policy_uid)
            alert = None
            if policy is not None and policy.knows(node):
                namespace = policy.object.namespace
                alert = alerts.read(each, node, namespace, policy.rules, now)
            if policy is None or alert is None:
                self._metrics.refused_alerts.inc()
                continue
            opened = self._open.setdefault(each.policy_uid, _Open())
            version = self._take(policy, opened, alert, now)
            if version > opened.book.written:
                awaited[each.policy_uid] = version
        self._receipts.expect(node, answer, sequence, awaited)
        self.wake()

    def look(self, policies: Mapping[str, Policy], now: float) -> None:
        """Begin what is due, and answer for what is done."""
        for uid in self._open.keys() - policies.keys():
            del self._open[uid]
            self._metrics.security.forget(uid)
        for uid, opened in self._open.items():
            if not opened.read and not opened.book.writing and now >= opened.book.due_at:
                self._begin(self._read(policies[uid], opened), opened)
            elif opened.read and opened.book.is_write_due(now):
                self._begin(self._write(policies[uid], opened.book), opened)
        self._receipts.settle(self._is_written)

    def note_response(self, policy: str, id_: str, response: str) -> None:
        """Take note of what was done about an alert of a policy."""
        opened = self._open.get(policy)
        if opened is not None:
            opened.book.note_response(id_, response)

    async def close(self) -> None:
        """Let go of what is being written."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, policy: Policy, opened: _Open, alert: Alert, now: float) -> int:
        """Take in an alert; return the version of the book that it is in."""
        if opened.read:
            self._note(policy, opened.book, alert, now)
            return opened.book.version
        if len(opened.pending) < MOST_PENDING:
            opened.pending.append(alert)
        else:
            self._metrics.refused_alerts.inc()
        return opened.book.version + 1

    def _note(self, policy: Policy, book: AlertBook, alert: Alert, now: float) -> None:
        if not book.take(alert.reported, clock.written(now)):
            return
        self._metrics.security.count(policy.object.reference, alert)
        policy.note_alert(alert.last)
        for about in (policy.object.reference, alert.pod):
            if about is not None:
                self._tell(about, _news(policy, alert), now)
        if policy.isolates(alert.rule):
            self._isolation.ask(policy, alert, now)

    def _is_written(self, policy: str, version: int) -> bool:
        opened = self._open.get(policy)
        # Nobody asks any more for the alerts of a policy that is gone.
        return opened is None or opened.book.written >= version

    def _begin(self, work: Any, opened: _Open) -> None:
        opened.book.writing = True
        task = asyncio.create_task(self._done(work, opened))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _done(self, work: Any, opened: _Open) -> None:
        try:
            async with self._writes:
                await work
        except ClusterError as error:
            opened.book.note_failure(time.time())
            if error.gone:
                opened.book.exists = not opened.book.exists
            logger.warning("alerts wait to be written: %s", error)
        finally:
            opened.book.writing = False
            self.wake()

    async def _read(self, policy: Policy, opened: _Open) -> None:
        body = await self._store.read_alerts(policy.object.reference)
        book = opened.book
        if body is not None:
            try:
                book.restore(body, policy.object.uid)
            except ValueError as error:
                logger.warning("policy %s: %s", policy.object.name, error)
        opened.read = True
        now = time.time()
        for alert in opened.pending:
            self._note(policy, book, alert, now)
        opened.pending.clear()
        book.version += 1

    async def _write(self, policy: Policy, book: AlertBook) -> None:
        version = book.version
        about = policy.object.reference
        await self._store.write_alerts(about, book.to_body(), exists=book.exists)
        book.note_written(version, time.time())


def _nobody() -> None:
    """Wake nobody."""


def _news(policy: Policy, alert: Alert) -> News:
    type_: Literal["Normal", "Warning"] = "Normal" if alert.severity == "event" else "Warning"
    rule = alert.reported.rule
    return News(
        type_,
        f"Security{alert.severity.title()}",
        f"{rule}: {alert.brief}; see the AlertReport of {policy.object.kind} {policy.object.name}",
        topic=f"{policy.object.uid} {rule} {alert.reported.namespace}/{alert.reported.pod}",
    )
