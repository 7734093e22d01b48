# SPDX-License-Identifier: Apache-2.0
"""Profiles out of what nodes have learned."""

import json
from collections.abc import Mapping

import pytest

from eunomia_api import agent_pb2
from eunomia_api.profile import (
    ALWAYS,
    Thresholds,
    allowed_names,
    digest,
    encode,
    judge,
    merge,
    profile,
    unseen,
)

MINUTE = 60_000
NOW = 100 * MINUTE


def counts(values: Mapping[str, int]) -> list[agent_pb2.CallCount]:
    return [agent_pb2.CallCount(name=name, runs=runs) for name, runs in values.items()]


def learned(
    calls: Mapping[str, int], runs: int = 3, whole: int = 1, quiet: int = 20, **fields: object
) -> agent_pb2.Learned:
    return agent_pb2.Learned(
        container="web",
        runs=runs,
        whole_runs=whole,
        calls=counts(calls),
        runtime_calls=counts({"execve": whole, "capset": whole} if whole else {}),
        since_ms=10 * MINUTE,
        last_new_ms=NOW - quiet * MINUTE,
        architecture="SCMP_ARCH_X86_64",
        base="Unconfined",
        **fields,  # type: ignore[arg-type]
    )


def test_what_nodes_saw_is_added_up() -> None:
    here = learned({"read": 3, "write": 2}, runs=3, pods=["web-1"], image="nginx:1")
    there = learned({"read": 2, "#900": 1}, runs=2, whole=0, quiet=5, pods=["web-2", "web-1"])
    there.base, there.architecture = "Filtered, eunomia/shop/web.json", "SCMP_ARCH_AARCH64"
    there.compat_calls.extend(counts({"mmap2": 1}))

    nothing_yet = agent_pb2.Learned(container="web")
    merged = merge([here, there, nothing_yet])

    assert merged.since_ms == 10 * MINUTE
    assert (merged.runs, merged.whole_runs) == (5, 1)
    assert merged.calls == {"read": 5, "write": 2, "#900": 1}
    assert merged.allowed == {"read", "write", "mmap2", "execve", "capset"}
    assert merged.nameless == ("#900",)
    assert merged.last_new_ms == NOW - 5 * MINUTE
    assert merged.bases == {"Unconfined", "Filtered", "eunomia/shop/web.json"}
    assert merged.pods == ("web-1", "web-2")
    assert merged.architectures == (
        *("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
        *("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    )


def test_nothing_from_no_node() -> None:
    merged = merge([])

    assert (merged.runs, merged.allowed, merged.architectures) == (0, frozenset(), ())
    assert not judge(merged, Thresholds(), NOW).converged


@pytest.mark.parametrize(
    ("incidences", "runs", "calls", "percent"),
    [
        ([10] * 40, 10, 0.0, 0.0),  # every run did the same
        ([1] * 40, 1, 40.0, 100.0),  # a single run says nothing of the next
        ([], 5, 0.0, 100.0),
        ([10] * 30 + [1, 1, 2], 10, 0.9 * 2, 100 * 2 / 304 * 18 / 20),
        ([10] * 30 + [1, 1], 10, 0.9, 100 * 2 / 302),
    ],
)
def test_what_is_unseen_is_estimated_from_what_few_runs_did(
    incidences: list[int], runs: int, calls: float, percent: float
) -> None:
    found = unseen(incidences, runs)

    assert (found.calls, found.percent) == pytest.approx((calls, percent))


@pytest.mark.parametrize(
    ("quiet", "thresholds"),
    [(20, Thresholds()), (0, Thresholds(quiet_ms=0, max_unseen_percent=0))],
)
def test_runs_that_all_do_the_same_converge(quiet: int, thresholds: Thresholds) -> None:
    told = learned(dict.fromkeys(["read", "write"], 3), quiet=quiet)
    verdict = judge(merge([told]), thresholds, NOW)

    assert (verdict.converged, verdict.reasons) == (True, ())
    assert verdict.unseen.percent == 0


def test_a_32_bit_call_of_one_run_is_as_telling_as_any() -> None:
    told = learned({"read": 3}, compat_calls=counts({"mmap2": 1}))
    verdict = judge(merge([told]), Thresholds(), NOW)

    assert verdict.reasons == ("an estimated 25.0 % is unseen, more than 1 %",)


def test_all_that_is_missing_is_said() -> None:
    verdict = judge(merge([learned({"read": 2, "write": 1}, 2, 0, 1)]), Thresholds(), NOW)

    assert not verdict.converged
    assert verdict.reasons == (
        "2 runs of 3 were seen",
        "0 starts of 1 were seen: restart a pod",
        "the last new call came 60 s ago, less than 600 s",
        "an estimated 11.1 % is unseen, more than 1 %",
    )


@pytest.mark.parametrize(
    ("replicas", "told"),
    [
        ((2, 1), ()),
        ((1, 1), ("2 pods of 3 were seen",)),
        ((4, None), ("1 pod of 3 were seen",)),  # what one node does not tell may be anything
    ],
)
def test_restarts_of_a_pod_are_no_replicas(
    replicas: tuple[int | None, ...], told: tuple[str, ...]
) -> None:
    found = merge(learned({"read": 3}, replicas=each) for each in replicas)

    assert judge(found, Thresholds(min_replicas=3), NOW).reasons == told


def test_a_profile_needs_what_the_runtime_calls_whatever_the_thresholds() -> None:
    thresholds = Thresholds(min_restarts=0)
    verdict = judge(merge([learned({"read": 3}, whole=0)]), thresholds, NOW)

    assert not verdict.converged
    assert "restart a pod" in verdict.reasons[0]


def test_a_profile_allows_what_was_called_and_refuses_the_rest() -> None:
    merged = merge([learned({"read": 3, "clone3": 1})])
    found = profile(merged.allowed, merged.architectures, allow=["statx"])

    assert found == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {
                "names": sorted({"read", "clone3", "execve", "capset", "statx"} | ALWAYS),
                "action": "SCMP_ACT_ALLOW",
            },
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
                ],
            },
        ],
    }


def test_the_runtimes_default_keeps_its_conditions_but_for_what_was_learned() -> None:
    found = profile(["read", "clone"], ["SCMP_ARCH_X86_64"], base="RuntimeDefault")
    plain, *conditional = found["syscalls"]

    assert {"accept", "clone", "openat"} <= set(plain["names"])
    assert set(plain["names"]).isdisjoint({"mount", "bpf", "unshare", "clone3", "keyctl"})
    assert {name for rule in conditional for name in rule["names"]} == {
        *("clone3", "personality", "socket")
    }
    assert "clone3" not in allowed_names(found)
    assert "socket" in allowed_names(found)


def test_an_unknown_base_is_refused() -> None:
    with pytest.raises(ValueError, match="not 'Default'"):
        profile([], [], base="Default")


def test_a_profile_has_one_form_on_the_disk() -> None:
    one = encode(profile(["read", "write"], ["SCMP_ARCH_X86_64"]))
    other = encode(profile(["write", "read", "read"], ["SCMP_ARCH_X86_64"]))

    assert one == other
    assert json.loads(one)["defaultAction"] == "SCMP_ACT_ERRNO"
    assert len(digest(one)) == 64
    assert digest(one) != digest(encode(profile(["read"], ["SCMP_ARCH_X86_64"])))
