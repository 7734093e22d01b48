# SPDX-License-Identifier: Apache-2.0
"""What follows from what was learned: modes, versions and words, without a cluster."""

from typing import Any

import pytest

from eunomia_api import agent_pb2
from eunomia_api.policy import ClusterSecurityPolicySpec, SecurityPolicySpec
from eunomia_api.policystatus import MAX_CONTAINERS, SeccompStatus
from eunomia_api.selector import LabelSelector
from eunomia_operator.learned import profile
from eunomia_operator.learned.profile import Kept, Spread
from eunomia_operator.learned.seccomp import Facts, Outcome, Worn, decide

NOW = 1767225600.0
LABELS = {"matchLabels": {"app": "web"}}


def spec(mode: str, **seccomp: Any) -> SecurityPolicySpec:
    target = {"podSelector": LABELS}
    return SecurityPolicySpec.model_validate(
        {"target": target, "seccomp": {"mode": mode, **seccomp}}
    )


def learned(*calls: str, runs: int = 3, **changes: Any) -> agent_pb2.Learned:
    told = {
        "runs": runs,
        "whole_runs": runs,
        "calls": [agent_pb2.CallCount(name=name, runs=runs) for name in calls],
        "runtime_calls": [agent_pb2.CallCount(name="execve", runs=runs)],
        "since_ms": int((NOW - 7200) * 1000),
        "last_new_ms": int((NOW - 3600) * 1000),
        "architecture": "SCMP_ARCH_X86_64",
        **changes,
    }
    return agent_pb2.Learned(**told)


def facts(**known: Any) -> Facts:
    return Facts(**{"now": NOW, "learned": {"web": [learned("read")]}, "profiles": {}, **known})


def kept(outcome: Outcome, container: str = "web", *, ready: bool = True) -> Kept:
    """The profile that was wanted, made and laid."""
    wanted = outcome.wanted[container]
    name = profile.name_of("guard", container)
    file = profile.file_of("shop", name, wanted)
    spread = Spread(nodes=1, ready=int(ready))
    status = profile.judge(
        profile.SeccompProfileStatus(), wanted, file, spread, generation=1, now=NOW
    )
    return Kept(name, wanted, status)


@pytest.mark.parametrize(
    ("target", "pods", "namespaces"),
    [
        ({"podSelector": LABELS}, LABELS, {}),
        ({"podSelector": {}, "namespaceSelector": LABELS}, {}, LABELS),
        ({"host": True}, None, None),
    ],
)
def test_a_policy_of_the_whole_cluster_binds_by_both_of_its_selectors(
    target: Any, pods: Any, namespaces: Any
) -> None:
    wide = ClusterSecurityPolicySpec.model_validate(
        {"target": target, "seccomp": {"mode": "Enforce"}}
    )
    first = decide(wide, SeccompStatus(), facts())
    outcome = decide(wide, first.status, facts(profiles={"web": kept(first)}))
    binding = outcome.wanted["web"].binding
    if pods is None:
        assert binding is None
    else:
        assert binding is not None
        assert binding.pod_selector == LabelSelector.model_validate(pods)
        assert binding.namespace_selector == LabelSelector.model_validate(namespaces)


def test_a_profile_is_for_all_machines_that_its_containers_ran_on() -> None:
    arm = agent_pb2.Learned(architecture="SCMP_ARCH_AARCH64")
    outcome = decide(spec("Learn"), SeccompStatus(), facts(learned={"web": [learned("read"), arm]}))
    assert {"SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64", "SCMP_ARCH_X86"} <= set(
        outcome.wanted["web"].architectures
    )
    unknown = {"web": [learned("read", architecture="SCMP_ARCH_NATIVE")]}
    assert decide(spec("Learn"), SeccompStatus(), facts(learned=unknown)).wanted == {}


def test_only_so_many_containers_are_told_of_and_those_with_a_profile_first() -> None:
    first = decide(spec("Learn"), SeccompStatus(), facts())
    crowd = {f"a-{number}": [learned("read")] for number in range(20)}
    outcome = decide(
        spec("Learn"),
        first.status,
        facts(learned={**crowd, "web": [learned("read")]}, profiles={"web": kept(first)}),
    )
    names = [each.name for each in outcome.status.containers]
    assert len(names) == len(outcome.wanted) == MAX_CONTAINERS
    assert "web" in names


def test_times_that_no_clock_shows_are_not_told() -> None:
    odd = learned("read", last_new_ms=2**63 - 1, since_ms=-5)
    outcome = decide(spec("Learn"), SeccompStatus(), facts(learned={"web": [odd]}))
    assert outcome.status.containers[0].last_new is None
    assert outcome.wanted == {}


def test_of_one_run_nothing_is_said_of_the_next() -> None:
    outcome = decide(
        spec("Learn"), SeccompStatus(), facts(learned={"web": [learned("read", runs=1)]})
    )
    assert outcome.status.containers[0].unseen_percent is None


def test_nothing_is_enforced_before_every_profile_lies_everywhere() -> None:
    pair = {"web": [learned("read")], "side": [learned("read")]}
    first = decide(spec("Enforce"), SeccompStatus(), facts(learned=pair))
    half = {"web": kept(first), "side": kept(first, "side", ready=False)}
    outcome = decide(spec("Enforce"), first.status, facts(learned=pair, profiles=half))
    assert outcome.status.mode == "Audit"
    assert {each.binding for each in outcome.wanted.values()} == {None}
    assert outcome.status.nodes_ready == 0
    whole = {"web": kept(first), "side": kept(first, "side")}
    outcome = decide(spec("Enforce"), outcome.status, facts(learned=pair, profiles=whole))
    assert outcome.status.mode == "Enforce"
    # From here on a sidecar that comes later is bound once it has a profile.
    later = decide(
        spec("Enforce"),
        outcome.status,
        facts(learned={**pair, "late": [learned("read")]}, profiles=whole),
    )
    assert later.status.mode == "Enforce"
    assert all(each.binding is not None for each in later.wanted.values())
    assert later.wanted["late"].version == "v1"


def test_what_was_learned_before_one_hears_nothing_any_more_stays() -> None:
    first = decide(spec("Enforce"), SeccompStatus(), facts())
    mine = {"web": kept(first)}
    enforced = decide(spec("Enforce"), first.status, facts(profiles=mine))
    silent = decide(spec("Enforce"), enforced.status, facts(learned={}, profiles=mine))
    assert silent.status.mode == "Enforce"
    assert silent.wanted["web"].syscalls == first.wanted["web"].syscalls
    assert silent.converged is not None
    assert silent.converged.status
    unsettled = decide(
        spec("Enforce"), enforced.status, facts(learned={}, profiles=mine, settled=False)
    )
    assert unsettled.status == enforced.status
    assert (unsettled.converged, unsettled.ready) == (None, None)


def test_pods_are_counted_only_where_nodes_tell() -> None:
    first = decide(spec("Enforce"), SeccompStatus(), facts())
    mine = {"web": kept(first)}
    known = decide(spec("Enforce"), first.status, facts(profiles=mine, worn=Worn(3, 2)))
    assert (known.status.bound_pods, known.status.unprotected_pods) == (3, 2)
    older = decide(spec("Enforce"), first.status, facts(profiles=mine, worn=None))
    assert (older.status.bound_pods, older.status.unprotected_pods) == (0, 0)
    audit = decide(spec("Audit"), first.status, facts(profiles=mine, worn=Worn(3, 2)))
    assert (audit.status.bound_pods, audit.status.unprotected_pods) == (3, 0)
