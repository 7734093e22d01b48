# SPDX-License-Identifier: Apache-2.0
"""Takes in the alerts of all nodes: each is counted, told and written down once."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from eunomia_api import agent_pb2
from eunomia_operator import clock
from eunomia_operator.alerts import alert as alerts
from eunomia_operator.alerts.alert import Alert
from eunomia_operator.alerts.book import AlertBook
from eunomia_operator.alerts.isolation import MOST_WAITING
from eunomia_operator.alerts.receipts import Answer, Receipts
from eunomia_operator.errors import ClusterError
from eunomia_operator.metrics import Metrics
from eunomia_operator.objects.policy import Policy
from eunomia_operator.objects.world import Reference
from eunomia_operator.status.news import News

logger = logging.getLogger("eunomia.alerts")

WRITES_AT_ONCE = 4
WRITE_RATE = 256 * 1024
"""Bytes a second of all AlertReports together. etcd keeps what was written for minutes, and ends
all writing in the cluster when it has 2 GiB."""
WRITE_BURST = 2 * 1024 * 1024
SMALLEST_WRITE = 8 * 1024
"""Bytes that any write counts for."""
TURNS_SECONDS = 60.0
NODE_BURST = 100
NODE_RATE = 1.0
"""Events on pods, a second, that one node's alerts may lead to."""
MOST_NODES = 10_000
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


class _Allowance:
    """How much may be written at a moment."""

    def __init__(self, burst: float, rate: float) -> None:
        """rate: how much comes back in a second."""
        self._burst = self._room = burst
        self._rate = rate
        self._at = 0.0

    def has_room(self, now: float) -> bool:
        self._room = min(self._burst, self._room + max(0.0, now - self._at) * self._rate)
        self._at = now
        return self._room > 0

    def take(self, size: float) -> None:
        self._room -= size


class _Open:
    """The book of a policy, and what waits for it to be read back."""

    def __init__(self) -> None:
        self.book = AlertBook()
        self.read = False
        self.pending: list[Alert] = []

    def is_write_due(self, now: float) -> bool:
        return self.read and self.book.is_write_due(now)


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
        self._allowance = _Allowance(WRITE_BURST, WRITE_RATE)
        self._nodes: OrderedDict[str, _Allowance] = OrderedDict()
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
        sequence, whole = 0, True
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
            if version is None:
                whole = False
            elif version > opened.book.written:
                awaited[each.policy_uid] = version
        if whole:
            self._receipts.expect(node, answer, sequence, awaited)
        else:
            self._receipts.stop(node, answer)
        self.wake()

    def look(self, policies: Mapping[str, Policy], now: float) -> None:
        """Begin what is due, and answer for what is done."""
        for uid in self._open.keys() - policies.keys():
            del self._open[uid]
            self._metrics.security.forget(uid)
        for uid, policy in policies.items():
            # Whatever an earlier leader left undone, and before alerts come in heaps.
            opened = self._open.setdefault(uid, _Open())
            if not opened.read and not opened.book.writing and now >= opened.book.due_at:
                self._begin(policy, self._read(policy, opened), opened)
        due = [each for each in self._open.items() if each[1].is_write_due(now)]
        for uid, opened in sorted(due, key=lambda each: each[1].book.due_at):
            if self._allowance.has_room(now):
                self._allowance.take(max(opened.book.size, SMALLEST_WRITE))
                self._begin(policies[uid], self._write(policies[uid], opened.book), opened)
        self._receipts.settle(lambda policy, version: self._is_written(policy, version, now))

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

    def _take(self, policy: Policy, opened: _Open, alert: Alert, now: float) -> int | None:
        """Take in an alert; return the version of the book that it is in.

        None where no room is left for it: then it has to be told again.
        """
        if opened.read:
            self._note(policy, opened.book, alert, now)
            return opened.book.version
        if len(opened.pending) >= MOST_PENDING:
            if not opened.book.has_failed_for_long(now):
                return None
            self._metrics.refused_alerts.inc()
            return opened.book.version + 1
        opened.pending.append(alert)
        return opened.book.version + 1

    def _note(self, policy: Policy, book: AlertBook, alert: Alert, now: float) -> None:
        if not book.take(alert.reported, clock.written(now)):
            return
        namespace = alert.pod.namespace if alert.pod else ""
        self._metrics.security.count(policy.object.reference, alert.severity, namespace, alert.rule)
        policy.note_alert(alert.last)
        self._tell(policy.object.reference, _news(policy, alert), now)
        if alert.pod is not None and self._may_tell(alert.reported.node, now):
            self._tell(alert.pod, _news(policy, alert), now)
        if policy.isolates(alert.rule):
            self._isolation.ask(policy, alert, now)

    def _may_tell(self, node: str, now: float) -> bool:
        """Tell whether a node may speak of one more pod: it can invent as many as it likes."""
        allowance = self._nodes.setdefault(node, _Allowance(NODE_BURST, NODE_RATE))
        self._nodes.move_to_end(node)
        if len(self._nodes) > MOST_NODES:
            self._nodes.popitem(last=False)
        if not allowance.has_room(now):
            return False
        allowance.take(1)
        return True

    def _is_written(self, policy: str, version: int, now: float) -> bool:
        opened = self._open.get(policy)
        # Nobody asks any more for the alerts of a policy that is gone. Where one cannot be written,
        # alerts of others must not wait behind it, until their agents have no room for them.
        return (
            opened is None or opened.book.written >= version or opened.book.has_failed_for_long(now)
        )

    def _begin(self, policy: Policy, work: Any, opened: _Open) -> None:
        opened.book.writing = True
        task = asyncio.create_task(self._done(policy, work, opened))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _done(self, policy: Policy, work: Any, opened: _Open) -> None:
        try:
            async with self._writes:
                await work
        except ClusterError as error:
            now = time.time()
            self._metrics.unwritten_reports.inc()
            opened.book.note_failure(now, refused=error.refused and not error.gone)
            if error.gone:
                opened.book.exists = not opened.book.exists
            logger.warning("alerts wait to be written: %s", error)
            if opened.book.has_failed_for_long(now):
                news = News("Warning", "AlertReportNotWritten", str(error), topic="AlertReport")
                self._tell(policy.object.reference, news, now)
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
        book.note_answer()
        now = time.time()
        self._isolate_again(policy, book, now)
        if opened.pending:
            for alert in opened.pending:
                self._note(policy, book, alert, now)
            opened.pending.clear()
            book.version += 1

    def _isolate_again(self, policy: Policy, book: AlertBook, now: float) -> None:
        """Ask for the pods that an earlier leader did not get to: as many as may have waited."""
        if not policy.isolates_any:
            return
        longest = TURNS_SECONDS * (1 + MOST_WAITING / max(1, policy.most_pods_a_minute))
        for reported in reversed(book.alerts):
            alert = alerts.again(reported, policy.rules)
            undone = not reported.response and not reported.dry_run
            recent = clock.read(reported.time) >= now - longest
            if undone and recent and policy.isolates(alert.rule):
                self._isolation.ask(policy, alert, now)

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
