# SPDX-License-Identifier: Apache-2.0
"""What containers of one name did, counted by runs, over pauses and restarts of the agent."""

import json

from eunomia_agent.events.names import CAPABILITIES
from eunomia_agent.learning import calls
from eunomia_agent.learning.book import MAX_PODS, Book
from eunomia_agent.learning.run import Run
from eunomia_agent.learning.seen import (
    BITS_SIZE,
    NOTHING,
    UNFILTERED,
    Asked,
    Bits,
    RefusalKey,
    Refused,
    Seen,
)

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


def test_the_newest_pods_are_named_each_once() -> None:
    book = Book(1000)
    for number in range(MAX_PODS + 3):
        for container in "ab":
            name = f"{number}{container}"
            book.meet(name, run_of(number, seen()), pod=f"web-{number}", image="nginx:1")
    book.meet("sidecar", run_of(99, seen()), pod="", image="")
    found = book.learned("web")
    assert list(found.pods) == [f"web-{number}" for number in range(3, MAX_PODS + 3)]
    assert found.image == "nginx:1"
