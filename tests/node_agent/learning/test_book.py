# SPDX-License-Identifier: Apache-2.0
"""What containers of one name did, counted by runs, over pauses and restarts of the agent."""

import json
from dataclasses import replace

import pytest

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.events.names import CAPABILITIES
from eunomia_agent.learning import calls
from eunomia_agent.learning.book import MAX_PODS, Book
from eunomia_agent.learning.pods import MAX_KNOWN, Pods
from eunomia_agent.learning.run import Run
from eunomia_agent.learning.seen import (
    BITS_SIZE,
    FILTERED,
    NOTHING,
    UNFILTERED,
    Asked,
    Bits,
    RefusalKey,
    Refused,
    Seen,
)
from eunomia_api import agent_pb2

READ = calls.bits_of(["read"], calls.OWN)
MOUNT = calls.bits_of(["mount"], calls.OWN)
MMAP2 = calls.bits_of(["mmap2"], calls.COMPAT)
EXIT = calls.bits_of(["exit"], calls.COMPAT)
NUMBER = {name: number for number, name in CAPABILITIES.items()}
REFUSED = RefusalKey(MOUNT.bit_length() - 1, compat=False, enforced=True)
REFUSED_32 = RefusalKey(MMAP2.bit_length() - 1, compat=True, enforced=False)


def seen(own: int = READ, compat: int = 0, runtime: Bits = NOTHING, times: int = 1) -> Seen:
    return Seen(
        whole=True,
        began=True,
        modes=UNFILTERED,
        beyond=0,
        called=Bits(own, compat),
        filtered=runtime,
        started=NOTHING,
        refusals={REFUSED: Refused(times, "sh"), REFUSED_32: Refused(times, "old")},
        asked={NUMBER["CAP_KILL"]: Asked(times, times, 0, "sh"), 63: Asked(times, 0, -1, "")},
    )


def run_of(cgroup_id: int, what: Seen) -> Run:
    run = Run()
    run.enter(cgroup_id)
    run.see(cgroup_id, what)
    return run


def again(book: Book) -> Book:
    """The book as the next agent has it, none of whose containers go on."""
    return Book.restored({**json.loads(json.dumps(book.saved())), "runs": []}, {})


def test_the_calls_of_32_bit_programs_lie_behind_the_others() -> None:
    packed = Bits(1 << 3, 1 << 5).pack()
    assert (len(packed), packed[0], packed[BITS_SIZE // 2]) == (BITS_SIZE, 1 << 3, 1 << 5)
    assert Bits.unpack(packed) == Bits(1 << 3, 1 << 5)


def test_runs_that_ended_are_as_they_were_for_the_next_agent() -> None:
    book = Book(1000)
    for number in range(3):
        what = seen(compat=MMAP2, runtime=Bits(MOUNT, EXIT), times=number + 1)
        book.meet(f"c{number}", run_of(number, what), pod="web", image="nginx:1")
        book.end(f"c{number}", 2000)

    found = book.learned("web")
    assert (found.runs, found.whole_runs, found.base) == (3, 3, "Unconfined")
    assert (found.since_ms, found.last_new_ms, list(found.pods)) == (1000, 2000, ["web"])
    assert {each.name: each.runs for each in found.calls} == {"read": 3}
    assert {each.name: each.runs for each in found.compat_calls} == {"exit": 3, "mmap2": 3}
    assert {each.name: each.runs for each in found.runtime_calls} == {"mount": 3}
    assert [(each.call, each.count, each.comm, each.enforced) for each in found.refusals] == [
        ("mmap2 (32-bit)", 6, "old", False),
        ("mount", 6, "sh", True),
    ]
    assert [
        (each.name, each.granted, each.denied, each.call, each.runs) for each in found.capabilities
    ] == [("#63", 6, 0, "", 3), ("CAP_KILL", 6, 6, "read", 3)]
    assert again(book).learned("web") == found


def test_nothing_is_new_that_was_seen_before_whoever_calls_it_and_whatever_restarts() -> None:
    book = Book(1000)
    book.meet("a", run_of(1, seen(compat=MMAP2, runtime=Bits(MOUNT))), pod="web-1", image="")
    book.end("a", 2000)
    later = again(book)
    later.meet("b", run_of(2, seen(compat=MMAP2, runtime=Bits(MOUNT))), pod="web-2", image="")
    later.end("b", 3000)
    assert later.learned("web").last_new_ms == 2000
    fresh = [seen(READ | MOUNT << 1), seen(compat=EXIT), seen(runtime=Bits(MOUNT << 2))]
    for number, what in enumerate(fresh):
        later.meet("c", run_of(3, what), pod="web-3", image="")
        later.end("c", 4000 + number)
        assert later.learned("web").last_new_ms == 4000 + number


def test_a_container_that_left_a_job_twice_is_learned_from_in_between_alone() -> None:
    book, run = Book(1000), run_of(1, seen())
    for what, later in [(seen(READ), seen(READ | MOUNT)), (seen(READ), seen(READ | MOUNT))]:
        run.see(1, what)
        book.meet("a", run, pod="web", image="nginx:1")
        book.freeze("a", 2000)
        run.see(1, later)
    assert [each.name for each in book.learned("web").calls] == ["read"]
    restored = again(book)
    assert restored.learned("web") == book.learned("web")
    assert again(restored).learned("web") == book.learned("web")
    assert restored.saved()["runs"] == []
    # and it is met again: what it does from now on counts, and it is still one run
    restored.meet("a", run, pod="web", image="nginx:1")
    found = restored.learned("web")
    assert (found.runs, [each.name for each in found.calls]) == (1, ["mount", "read"])
    restored.freeze("a", 3000)
    assert restored.saved()["runs"] == []


CONFINED = Confinement("", "Localhost/mine.json", frozenset({"CAP_CHOWN"}), False)
PRIVILEGED = Confinement("", "Unconfined", frozenset({"CAP_SYS_ADMIN"}), True)


@pytest.mark.parametrize(
    ("modes", "told", "base"),
    [
        (FILTERED, CONFINED, "Localhost/mine.json"),
        (FILTERED, Confinement(base="RuntimeDefault"), "RuntimeDefault"),
        (FILTERED, None, "Filtered"),
        (FILTERED, PRIVILEGED, "Filtered"),  # it has put one on itself
        (FILTERED | UNFILTERED, CONFINED, "Unconfined"),
        (UNFILTERED, PRIVILEGED, "Unconfined"),
        (0, CONFINED, ""),
    ],
)
def test_the_filter_that_was_on_has_the_name_that_the_runtime_tells(
    modes: int, told: Confinement | None, base: str
) -> None:
    book, run = Book(1000), run_of(1, replace(seen(), modes=modes))
    book.meet("a", run, pod="web", image="nginx:1")
    run.confinement = told
    assert book.learned("web").base == base
    book.end("a", 2000)
    assert again(book).learned("web").base == base


def test_what_containers_have_is_that_of_those_that_run_and_else_of_the_last() -> None:
    book = Book(1000)

    def given() -> tuple[list[str], bool, int] | None:
        found = book.learned("web")
        assert Book.restored(json.loads(json.dumps(book.saved())), runs).learned("web") == found
        has = found.given
        ended = has.until_ms
        return (list(has.capabilities), has.privileged, ended) if found.HasField("given") else None

    runs = {name: run_of(number, seen()) for number, name in enumerate("abc")}
    for name, run in runs.items():
        book.meet(name, run, pod=name, image="")
    assert given() is None
    runs["a"].confinement = CONFINED
    runs["b"].confinement = PRIVILEGED
    assert given() == (["CAP_CHOWN", "CAP_SYS_ADMIN"], True, 0)
    book.freeze("b", 1500)
    assert given() == (["CAP_CHOWN"], False, 0)
    for number, name in enumerate("acb"):
        book.end(name, 2000 + number)
        runs.pop(name)
    assert given() == (["CAP_SYS_ADMIN"], True, 2002)


def test_restarts_in_a_pod_are_runs_of_one_replica() -> None:
    book = Book(1000)

    def live(name: str, pod: str) -> None:
        run = run_of(1, seen())
        run.pod = pod
        book.meet(name, run, pod="web-0", image="")

    for number in range(4):
        live(f"a{number}", "uid-1")
        book.end(f"a{number}", 2000)
    live("b", "uid-1")
    live("c", "uid-2")
    made = Run(pod="uid-3")  # and never ran
    book.meet("d", made, pod="web-0", image="")
    found = book.learned("web")
    assert (found.runs, found.replicas) == (6, 2)
    book.end("b", 3000)
    book.end("c", 3000)
    book.end("d", 3000)
    assert (book.learned("web").runs, book.learned("web").replicas) == (6, 2)
    assert again(book).learned("web") == book.learned("web")

    saved = again(book).saved()
    del saved["ended"]["pods"]  # as an older agent saved it
    assert Book.restored(saved, {}).learned("web").replicas == 1


def test_pods_are_counted_however_many_come_and_go() -> None:
    pods = Pods()
    for number in range(3 * MAX_KNOWN):
        for _ in range(3):
            pods.add(f"uid-{number}")
            pods.add("stays")
    assert pods.count == 3 * MAX_KNOWN + 1
    assert len(pods.saved()["known"]) == MAX_KNOWN


def test_the_newest_pods_are_named_each_once() -> None:
    book = Book(1000)
    for number in range(MAX_PODS + 3):
        for container in "ab":
            name = f"{number}{container}"
            book.meet(name, run_of(number, seen()), pod=f"web-{number}", image="nginx:1")
    book.meet("sidecar", run_of(99, seen()), pod="", image="")
    assert not book.learned("web").HasField("last_pod")
    last = run_of(100, seen())
    book.meet("last", last, pod=f"web-{MAX_PODS + 2}", namespace="shop", image="")
    found = book.learned("web")
    assert found.last_pod == agent_pb2.Pod(namespace="shop", name=f"web-{MAX_PODS + 2}")
    assert again(book).learned("web").last_pod == found.last_pod
    assert list(found.pods) == [f"web-{number}" for number in range(3, MAX_PODS + 3)]
    assert found.image == "nginx:1"
