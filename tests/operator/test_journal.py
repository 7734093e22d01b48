# SPDX-License-Identifier: Apache-2.0
"""What `kubectl describe` shows below a job."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from eunomia_operator.cluster.journal import BURST, REMEMBERED, Journal
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.world import Reference
from eunomia_operator.status.news import News

NOW = 1767225600.0
JOB = Reference("TraceJob", "shop", "opens", "uid-1")
STARTED = News("Normal", "Started", "tracing began")


class Store:
    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.broken = False

    async def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        if self.broken:
            raise ClusterError("write", "no answer")
        self.events[namespace, event["metadata"]["name"]] = event

    async def patch_event(self, namespace: str, name: str, changes: dict[str, Any]) -> None:
        if (namespace, name) not in self.events:
            raise ClusterError("write", "not found", 404)
        self.events[namespace, name].update(changes)

    def told(self) -> list[tuple[str, str, str, int]]:
        return [
            (namespace, event["reason"], event["message"], event["count"])
            for (namespace, _), event in self.events.items()
        ]


@contextmanager
def running(journal: Journal) -> Iterator[None]:
    task = asyncio.ensure_future(journal.run())
    try:
        yield
    finally:
        task.cancel()


async def settled() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def journal(store: Store) -> Journal:
    return Journal(store, "one")


async def test_an_event_belongs_to_its_job(store: Store, journal: Journal) -> None:
    with running(journal):
        journal.tell(JOB, STARTED, NOW)
        await settled()
    (event,) = store.events.values()
    assert event["involvedObject"] == {
        "apiVersion": "eunomia.dev/v1alpha1",
        "kind": "TraceJob",
        "namespace": "shop",
        "name": "opens",
        "uid": "uid-1",
    }
    assert (event["type"], event["firstTimestamp"]) == ("Normal", "2026-01-01T00:00:00Z")


async def test_events_of_a_cluster_job_stand_in_default(store: Store, journal: Journal) -> None:
    with running(journal):
        journal.tell(Reference("ClusterTraceJob", "", "all", "u"), STARTED, NOW)
        await settled()
    assert store.told() == [("default", "Started", "tracing began", 1)]


async def test_the_same_news_is_one_event_with_a_count(store: Store, journal: Journal) -> None:
    with running(journal):
        for seconds in range(3):
            journal.tell(JOB, STARTED, NOW + seconds)
        await settled()
        assert store.told() == [("shop", "Started", "tracing began", 3)]
        store.events.clear()
        journal.tell(JOB, STARTED, NOW + 5)
        await settled()
    assert store.told() == [("shop", "Started", "tracing began", 1)]


async def test_news_of_one_topic_is_one_event_that_tells_the_newest(
    store: Store, journal: Journal
) -> None:
    with running(journal):
        for number in range(3):
            news = News("Warning", "SecurityAlert", f"process {number}", topic="shadow")
            journal.tell(JOB, news, NOW + number)
        journal.tell(JOB, News("Warning", "SecurityAlert", "other", topic="mount"), NOW)
        await settled()
    assert store.told() == [
        ("shop", "SecurityAlert", "process 2", 3),
        ("shop", "SecurityAlert", "other", 1),
    ]


async def test_a_job_that_tells_too_much_does_not_silence_another(
    store: Store, journal: Journal
) -> None:
    other = Reference("TraceJob", "shop", "other", "uid-2")
    with running(journal):
        for number in range(BURST * 5):
            journal.tell(JOB, News("Warning", "NodeFailed", f"node {number}"), NOW)
        journal.tell(other, STARTED, NOW)
        await settled()
    assert len(store.events) == BURST + 1
    assert store.told()[-1] == ("shop", "Started", "tracing began", 1)


async def test_an_api_server_that_is_away_loses_events_and_nothing_else(
    store: Store, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    with running(journal):
        store.broken = True
        journal.tell(JOB, STARTED, NOW)
        await settled()
        store.broken = False
        journal.tell(JOB, News("Normal", "Complete", "done"), NOW + 1)
        await settled()
    assert store.told() == [("shop", "Complete", "done", 1)]
    assert "an Event is lost" in caplog.text


async def test_what_is_told_of_many_others_gives_nobody_a_new_allowance(
    store: Store, journal: Journal
) -> None:
    with running(journal):
        for number in range(3 * REMEMBERED):
            if number % 100 == 0:
                journal.tell(JOB, News("Warning", "SecurityAlert", f"alert {number}"), NOW)
            journal.tell(Reference("Pod", "shop", "p", f"pod-{number}"), STARTED, NOW)
            if number % 500 == 0:
                await settled()
        await settled()
    of_the_job = [each for each in store.told() if each[1] == "SecurityAlert"]
    assert len(of_the_job) <= BURST
