# SPDX-License-Identifier: Apache-2.0
"""The picture stays true although a list is older than what the watch told meanwhile."""

from typing import Any

import pytest

from eunomia_operator.objects.world import Kind, World


def body(name: str, namespace: str | None = None, **metadata: Any) -> dict[str, Any]:
    more = {"namespace": namespace} if namespace else {}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1, **more, **metadata},
        "spec": {"some": "thing"},
    }


@pytest.fixture
def changes() -> list[None]:
    return []


@pytest.fixture
def world(changes: list[None]) -> World:
    return World(lambda: changes.append(None))


def test_what_does_not_matter_wakes_nobody(world: World, changes: list[None]) -> None:
    world.see(Kind.NODES, "ADDED", body("node-a", labels={"pool": "web"}))
    world.see(Kind.NODES, "MODIFIED", {**body("node-a", labels={"pool": "web"}), "status": {}})
    world.see(Kind.TRACE_JOBS, "ADDED", body("job", "shop"))
    world.see(Kind.TRACE_JOBS, "MODIFIED", {**body("job", "shop"), "status": {"phase": "Running"}})
    assert len(changes) == 2
    world.see(Kind.NODES, "MODIFIED", body("node-a", labels={"pool": "db"}))
    world.see(Kind.TRACE_JOBS, "MODIFIED", body("job", "shop", generation=2))
    assert len(changes) == 4


def test_a_list_mends_what_the_watch_missed(world: World) -> None:
    world.see(Kind.TRACE_JOBS, "ADDED", body("gone", "shop"))
    world.see(Kind.TRACE_JOBS, "ADDED", body("kept", "shop"))
    mark = world.mark()
    world.replace(Kind.TRACE_JOBS, [body("kept", "shop"), body("missed", "shop")], mark)
    assert {job.name for job in world.resources} == {"kept", "missed"}


def test_a_list_does_not_undo_what_came_after_it(world: World) -> None:
    world.see(Kind.TRACE_JOBS, "ADDED", body("deleted", "shop"))
    mark = world.mark()
    world.see(Kind.TRACE_JOBS, "DELETED", body("deleted", "shop"))
    world.see(Kind.TRACE_JOBS, "ADDED", body("made", "shop"))
    world.see(Kind.TRACE_JOBS, "MODIFIED", body("made", "shop", generation=2))
    world.replace(Kind.TRACE_JOBS, [body("deleted", "shop")], mark)
    assert [(job.name, job.generation) for job in world.resources] == [("made", 2)]
    world.replace(Kind.TRACE_JOBS, [], world.mark())
    assert world.resources == []


def test_a_job_that_is_being_deleted_is_no_job_any_more(world: World) -> None:
    world.see(Kind.TRACE_JOBS, "ADDED", body("job", "shop"))
    ending = body("job", "shop", deletionTimestamp="2026-01-01T00:00:00Z")
    world.see(Kind.TRACE_JOBS, "MODIFIED", ending)
    assert world.resources == []


def test_an_object_that_cannot_be_read_hides_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"metadata": {"name": "odd", "namespace": "shop", "generation": "many"}}
    world.replace(Kind.TRACE_JOBS, [odd, body("good", "shop")], world.mark())
    assert [job.name for job in world.resources] == ["good"]
    assert "odd" in caplog.text
