# SPDX-License-Identifier: Apache-2.0
"""A namespace that wants all of a node cannot keep the others from it."""

from eunomia_operator.planning.seats import MOST_BYTES, SLOTS, Candidate, Rank, left_out


def candidates(namespace: str, count: int, *, begin: int = 0, **changes: object) -> list[Candidate]:
    """Jobs of a namespace, the first one the oldest. begin: when that was made, in seconds."""
    return [
        Candidate(
            **{  # type: ignore[arg-type]
                "uid": f"{namespace}-{number:03}",
                "namespace": namespace,
                "created": f"2026-01-01T00:{begin // 60:02}:{begin % 60:02}Z-{number:03}",
                "rank": Rank.TRACE,
                "size": 1000,
                **changes,
            }
        )
        for number in range(count)
    ]


def test_as_many_as_there_are_slots_all_have_a_place() -> None:
    assert left_out(candidates("shop", SLOTS)) == frozenset()


def test_the_youngest_of_a_namespace_wait() -> None:
    assert left_out(candidates("shop", SLOTS + 2)) == {"shop-064", "shop-065"}


def test_a_late_namespace_gets_its_place_from_the_one_that_has_most() -> None:
    many = candidates("greedy", 100)
    late = candidates("late", 2, begin=60)
    before, after = left_out(many), left_out([*many, *late])
    assert after - before == {"greedy-062", "greedy-063"}
    assert not any(uid.startswith("late") for uid in after)


def test_two_that_want_all_get_half_each() -> None:
    refused = left_out([*candidates("a", 64), *candidates("b", 64, begin=60)])
    assert sorted(refused) == sorted(f"{name}-{n:03}" for name in "ab" for n in range(32, 64))


def test_a_suspended_job_needs_no_slot() -> None:
    resting = candidates("resting", 100, rank=Rank.RESTING)
    assert left_out([*resting, *candidates("shop", SLOTS)]) == frozenset()


def test_large_specs_wait_when_together_they_would_be_too_large_for_a_message() -> None:
    size = MOST_BYTES // 3
    large = [*candidates("a", 4, size=size), *candidates("b", 1, begin=60, size=size)]
    refused = left_out([*large, *candidates("c", 1, begin=90)])
    assert refused == {"a-001", "a-002", "a-003"}


def test_a_guard_has_its_place_before_what_only_looks() -> None:
    traces = candidates("shop", SLOTS)
    guard = candidates("shop", 1, begin=60, rank=Rank.GUARD, uid="guard", jobs=3)
    assert left_out([*traces, *guard]) == {"shop-061", "shop-062", "shop-063"}
    elsewhere = candidates("bank", SLOTS)
    assert "guard" not in left_out([*elsewhere, *traces, *guard])


def test_a_policy_has_a_place_for_all_of_its_jobs_or_none() -> None:
    (large,) = candidates("shop", 1, rank=Rank.GUARD, uid="large", jobs=SLOTS + 1)
    others = candidates("shop", SLOTS, begin=60)
    assert left_out([large, *others]) == {"large"}
