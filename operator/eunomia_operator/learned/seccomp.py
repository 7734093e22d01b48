# SPDX-License-Identifier: Apache-2.0
"""What becomes of what the nodes have learned for a policy: profiles, and how far they go. Pure.

outcome = decide(spec, before, facts)
outcome.status       # status.seccomp
outcome.wanted       # by container: the SeccompProfile that there should be
outcome.audited      # by container: the calls beside which nodes are to tell of any
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eunomia_api import agent_pb2
from eunomia_api.duration import seconds
from eunomia_api.policy import Mode, PolicySpec, Seccomp, SeccompMode
from eunomia_api.policystatus import MAX_CONTAINERS, LearnedContainer, SeccompStatus
from eunomia_api.profile import Merged, Thresholds, Verdict, judge, merge
from eunomia_api.seccomp import MAX_SYSCALLS, ProfileBinding, Provenance, SeccompProfileSpec
from eunomia_api.selector import LabelSelector
from eunomia_api.target import ClusterTarget
from eunomia_operator import clock
from eunomia_operator.learned.inheritance import NOTHING, Inherited, taken_over
from eunomia_operator.learned.profile import Kept, next_version, restored, versions
from eunomia_operator.text import plain

MOST_DRIFT = 16
LONGEST_DRIFT = 64
LONGEST_MESSAGE = 1024
MOST_PODS = 16
LARGEST = 2**31 - 1
LATEST_MS = 253_402_300_799_000
"""The end of the year 9999: what a clock can write."""
COMPAT = " (32-bit)"
"""Behind the name of a refused call of a 32-bit program."""
_SYSCALL = re.compile(r"_?[a-z][a-z0-9_]{0,61}")


@dataclass(frozen=True, slots=True)
class Worn:
    """Pods, as the runtimes of their containers tell. bound: with all profiles that there are.

    bare: with a container that wears none, though there is one for it. Others wear another policy's
    profile, or run no container for which there is any.
    """

    bound: int = 0
    bare: int = 0

    @classmethod
    def over(cls, nodes: Iterable["Worn"]) -> "Worn":
        """Return what all nodes tell together."""
        told = list(nodes)
        return cls(sum(each.bound for each in told), sum(each.bare for each in told))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known now. now: Unix time in seconds."""

    now: float
    learned: Mapping[str, Sequence[agent_pb2.Learned]]
    """By container."""
    profiles: Mapping[str, Kept]
    """By container: the policy's own."""
    settled: bool = True
    """Whether all nodes have been heard, or had the time to speak."""
    worn: Worn | None = None
    """What the policy's pods wear; None where nodes do not tell."""
    inherited: Inherited = NOTHING
    """What the profile allows that the policy names as a base."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a condition says."""

    status: bool
    reason: str
    message: str


NOT_WORN = Worn()
DISABLED = Word(False, "Disabled", "spec.seccomp.mode is Disabled")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be said and done."""

    status: SeccompStatus
    wanted: Mapping[str, SeccompProfileSpec] = field(default_factory=dict[str, SeccompProfileSpec])
    audited: tuple[tuple[str, tuple[str, ...]], ...] = ()
    converged: Word | None = None
    ready: Word | None = None
    """Of ProfileReady. None: there is nothing new to say, or nothing at all."""


NO_OUTCOME = Outcome(SeccompStatus())


@dataclass(frozen=True, slots=True)
class _Subject:
    """The containers of one name."""

    name: str
    reports: Sequence[agent_pb2.Learned]
    merged: Merged
    verdict: Verdict
    kept: Kept | None


def decide(spec: PolicySpec, before: SeccompStatus, facts: Facts) -> Outcome:
    """Return what follows for a policy from what is known."""
    seccomp = spec.seccomp
    if seccomp.mode == SeccompMode.DISABLED:
        return _disabled(facts)
    if not facts.settled:
        # A new leader knows less than the status that it found.
        wanted = {name: each.spec for name, each in facts.profiles.items()}
        return Outcome(before, wanted, _audited(_mode_of(before), facts.profiles))
    subjects = _subjects(seccomp, facts)
    profiles = [each.kept for each in subjects if each.kept is not None]
    asked = seccomp.mode
    if spec.mode == Mode.DRY_RUN and asked == SeccompMode.ENFORCE:
        asked = SeccompMode.AUDIT
    enforced = asked == SeccompMode.ENFORCE and _mode_of(before) == SeccompMode.ENFORCE
    refused = _refused(subjects, enforced=enforced)
    refusals = sum(each.count for each in refused)
    mode = _in_force(asked, seccomp, profiles, refusals, enforced=enforced)
    wanted = dict[str, SeccompProfileSpec]()
    binding = _binding(spec) if mode == SeccompMode.ENFORCE else None
    for subject in subjects:
        found = _wanted(seccomp, subject, facts)
        if found is not None:
            wanted[subject.name] = found.model_copy(update={"binding": binding})
    worn = facts.worn or NOT_WORN
    status = SeccompStatus(
        mode=mode.value,
        phase=_phase(mode, profiles),
        containers=[_shown(each) for each in subjects],
        bound_pods=worn.bound,
        unprotected_pods=worn.bare if mode == SeccompMode.ENFORCE else 0,
        nodes_ready=min((each.status.nodes_ready for each in profiles), default=0),
        refusals=refusals,
        drift=[each.shown for each in refused[:MOST_DRIFT]],
    )
    return Outcome(
        status=status,
        wanted=wanted,
        audited=_audited(mode, facts.profiles),
        converged=_converged(subjects),
        ready=_ready(spec, subjects, status, facts.inherited),
    )


def _disabled(facts: Facts) -> Outcome:
    """Return what is left of a policy that does not go on with system calls: unbound files."""
    wanted = {
        name: each.spec.model_copy(update={"binding": None})
        for name, each in facts.profiles.items()
    }
    bound = (facts.worn or NOT_WORN).bound
    return Outcome(SeccompStatus(bound_pods=bound), wanted, converged=DISABLED, ready=DISABLED)


def _subjects(seccomp: Seccomp, facts: Facts) -> list[_Subject]:
    # Those that have a profile are never crowded out by others.
    others = sorted(facts.learned.keys() - facts.profiles.keys())
    names = [*sorted(facts.profiles), *others][:MAX_CONTAINERS]
    limits = _thresholds(seccomp)
    subjects: list[_Subject] = []
    for name in sorted(names):
        told = facts.learned.get(name, ())
        merged = merge(told)
        verdict = judge(merged, limits, int(facts.now * 1000))
        subjects.append(_Subject(name, told, merged, verdict, facts.profiles.get(name)))
    return subjects


def _thresholds(seccomp: Seccomp) -> Thresholds:
    asked = seccomp.convergence
    return Thresholds(
        min_runs=asked.min_runs,
        min_replicas=asked.min_replicas,
        min_restarts=asked.min_restarts,
        quiet_ms=round(seconds(asked.quiet_period) * 1000),
        max_unseen_percent=asked.max_unseen_percent,
    )


def _mode_of(status: SeccompStatus) -> SeccompMode:
    known = {each.value for each in SeccompMode}
    return SeccompMode(status.mode) if status.mode in known else SeccompMode.DISABLED


def _in_force(
    asked: SeccompMode,
    seccomp: Seccomp,
    profiles: Sequence[Kept],
    refusals: int,
    *,
    enforced: bool,
) -> SeccompMode:
    """Return the mode that is in force, which lags behind the one that is asked for.

    What is enforced stays so: else who makes calls that are refused would switch it off.
    """
    if not profiles or asked == SeccompMode.LEARN:
        return SeccompMode.LEARN
    if asked == SeccompMode.ENFORCE:
        begins = all(each.ready for each in profiles) and (seccomp.force or not refusals)
        return SeccompMode.ENFORCE if enforced or begins else SeccompMode.AUDIT
    return SeccompMode.AUDIT


def _phase(mode: SeccompMode, profiles: Sequence[Kept]) -> str:
    if not profiles:
        return "Learning"
    if not all(each.ready for each in profiles):
        return "Distributing"
    phases = {SeccompMode.ENFORCE: "Enforcing", SeccompMode.AUDIT: "Auditing"}
    return phases.get(mode, "Converged")


def _binding(spec: PolicySpec) -> ProfileBinding | None:
    target = spec.target
    if target.pod_selector is None:
        return None
    namespaces = None
    if isinstance(target, ClusterTarget):
        namespaces = target.namespace_selector or LabelSelector()
    return ProfileBinding(
        pod_selector=target.pod_selector,
        namespace_selector=namespaces,
        override_pods=spec.seccomp.override_pods,
    )


# What a profile should say.


def _wanted(seccomp: Seccomp, subject: _Subject, facts: Facts) -> SeccompProfileSpec | None:
    """Return the profile that there should be; None while there is none to be.

    It takes up what was seen since in mode Learn alone: else whoever makes a call that it refuses
    would be let in after a while. A call that it allows it goes on to allow, but for a version that
    the user goes back to.
    """
    kept, merged = subject.kept, subject.merged
    if kept is None:
        return _first(seccomp, subject, facts)
    known = versions(kept)
    if seccomp.profile is not None:
        named = known.get(seccomp.profile)
        return kept.spec if named is None else restored(kept.spec, named)
    newest = restored(kept.spec, kept.status.history[0])
    calls = {*newest.syscalls, *seccomp.allow}
    architectures = newest.architectures
    learning = seccomp.mode == SeccompMode.LEARN and subject.verdict.converged
    if learning:
        calls |= _names(merged.allowed)
        architectures = sorted({*architectures, *merged.architectures})
    told = {"syscalls": sorted(calls)[:MAX_SYSCALLS], "architectures": architectures}
    changed = _based(newest.model_copy(update=told), seccomp, facts.inherited)
    if _says_same(newest, changed):
        return newest
    provenance = _provenance(merged, facts.now) if learning else newest.provenance
    version = next_version(kept.status.history)
    return changed.model_copy(update={"version": version, "provenance": provenance})


def _says_same(newest: SeccompProfileSpec, changed: SeccompProfileSpec) -> bool:
    """Tell whether nothing changed that makes a version another.

    It is no change to say what an older operator did not.
    """
    below = newest.base_profile_base
    return _says(newest) == _says(changed) and below in (None, changed.base_profile_base)


def _says(spec: SeccompProfileSpec) -> tuple[object, ...]:
    lists = spec.syscalls, spec.architectures, spec.base_syscalls
    return (*map(frozenset, lists), spec.base, spec.base_profile_name)


def _based(newest: SeccompProfileSpec, seccomp: Seccomp, found: Inherited) -> SeccompProfileSpec:
    """Return a profile with the bases that it should have.

    What it took over from another profile stays as it was where that cannot be told any more; the
    base that the policy itself names counts in any case.
    """
    named = seccomp.base_profile_name
    if found.problem:
        named, found = newest.base_profile_name, taken_over(newest)
    own = {"base": seccomp.base, "base_profile_name": named}
    return found.under(newest.model_copy(update=own))


def _first(seccomp: Seccomp, subject: _Subject, facts: Facts) -> SeccompProfileSpec | None:
    merged, inherited = subject.merged, facts.inherited
    if not subject.verdict.converged or not merged.architectures or inherited.problem:
        return None
    own = SeccompProfileSpec(
        container=subject.name,
        base=seccomp.base,
        base_profile_name=seccomp.base_profile_name,
        architectures=sorted(set(merged.architectures)),
        syscalls=sorted({*_names(merged.allowed), *seccomp.allow})[:MAX_SYSCALLS],
        version=next_version(()),
        provenance=_provenance(merged, facts.now),
    )
    return inherited.under(own)


def _names(calls: Iterable[str]) -> frozenset[str]:
    """Return those that can be names of calls, whatever an agent has told."""
    return frozenset(name for name in calls if _SYSCALL.fullmatch(name))


def _provenance(merged: Merged, now: float) -> Provenance:
    return Provenance(
        pods=[plain(pod, 253) for pod in merged.pods[:MOST_PODS]],
        runs=min(merged.runs, LARGEST),
        since=_time(merged.since_ms),
        until=clock.written(now),
    )


def _time(milliseconds: int) -> str | None:
    inside = 0 < milliseconds <= LATEST_MS
    return clock.written(milliseconds / 1000) if inside else None


# What a profile refuses, or would.


@dataclass(frozen=True, slots=True)
class _Refused:
    container: str
    call: str
    count: int
    comm: str = ""

    @property
    def shown(self) -> str:
        who = f" by {self.comm}" if self.comm else ""
        return plain(f"{self.call}{who} in {self.container}", LONGEST_DRIFT)


def _refused(subjects: Iterable[_Subject], *, enforced: bool) -> list[_Refused]:
    """Return the calls that were made and that the profiles do not allow.

    enforced: whether a call that was refused counts, too. Before the profiles are in force it was
    another profile that refused it, and the workload goes on without.
    """
    found: list[_Refused] = []
    for subject in subjects:
        if subject.kept is None:
            continue
        allowed, merged = subject.kept.allowed, subject.merged
        counts = Counter[str]()
        for name, runs in [*merged.calls.items(), *merged.compat_calls.items()]:
            if name not in allowed:
                counts[name] += runs
        comms: dict[str, str] = {}
        told = Counter[str]()
        for each in (refusal for report in subject.reports for refusal in report.refusals):
            name = each.call.removesuffix(COMPAT)
            if name not in allowed and (enforced or not each.enforced):
                told[name] += each.count
                comms.setdefault(name, each.comm)
        for name in sorted(counts | told):
            most = min(max(counts[name], told[name]), LARGEST)
            found.append(_Refused(subject.name, name, most, comms.get(name, "")))
    return found


def _audited(
    mode: SeccompMode, profiles: Mapping[str, Kept]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if mode not in (SeccompMode.AUDIT, SeccompMode.ENFORCE):
        return ()
    return tuple((name, tuple(sorted(kept.allowed))) for name, kept in sorted(profiles.items()))


# What is said of it.


def _shown(subject: _Subject) -> LearnedContainer:
    merged, kept = subject.merged, subject.kept
    known = merged.runs > 1
    return LearnedContainer(
        name=subject.name,
        runs=min(merged.runs, LARGEST),
        replicas=None if merged.replicas is None else min(merged.replicas, LARGEST),
        whole_runs=min(merged.whole_runs, LARGEST),
        calls=len(merged.allowed),
        last_new=_time(merged.last_new_ms),
        unseen_percent=min(100, math.ceil(subject.verdict.unseen.percent)) if known else None,
        base=plain(", ".join(sorted(merged.bases)), 253),
        profile=kept.spec.version if kept else "",
        hash=kept.status.sha256 if kept else "",
    )


def _converged(subjects: Sequence[_Subject]) -> Word:
    # Of containers that are gone nothing more is to come, and their profile stays.
    seen = [each for each in subjects if each.merged.runs or each.kept is None]
    if not seen and not subjects:
        return Word(False, "NothingSeen", "no container of the policy has been seen yet")
    missing = [
        f"{each.name}: {', '.join(each.verdict.reasons)}"
        for each in seen
        if not each.verdict.converged
    ]
    if missing:
        return Word(False, "Learning", plain("; ".join(missing), LONGEST_MESSAGE))
    runs = ", ".join(f"{each.name} after {each.merged.runs} runs" for each in seen)
    return Word(True, "EnoughSeen", plain(runs, LONGEST_MESSAGE))


def _ready(
    spec: PolicySpec, subjects: Sequence[_Subject], status: SeccompStatus, base: Inherited
) -> Word:
    profiles = [each.kept for each in subjects if each.kept is not None]
    if base.problem and not profiles:
        return Word(False, "BaseNotUsable", plain(base.problem, LONGEST_MESSAGE))
    word = _stands(spec, subjects, status)
    stays = f"; what profiles had of a base they keep: {base.problem}" if base.problem else ""
    return replace(word, message=plain(word.message + stays, LONGEST_MESSAGE))


def _stands(spec: PolicySpec, subjects: Sequence[_Subject], status: SeccompStatus) -> Word:
    profiles = [each.kept for each in subjects if each.kept is not None]
    lost = _lost_version(spec.seccomp, profiles)
    if lost:
        return Word(False, "NoSuchVersion", lost)
    if not profiles:
        return Word(False, "Learning", "no profile has been made yet: see Converged")
    lagging = next((each for each in profiles if not each.ready), None)
    if lagging is not None:
        ready = [each for each in lagging.status.conditions if each.type == "Ready"]
        why = ready[0].message if ready else "it is being made"
        return Word(False, "Distributing", f"profile {lagging.name}: {why}")
    message = ", ".join(f"{each.name} {each.spec.version}" for each in profiles)
    bare = [each.name for each in subjects if each.kept is None]
    if bare:
        message += f"; none yet for {', '.join(bare)}"
    if spec.seccomp.mode == SeccompMode.ENFORCE and status.mode != SeccompMode.ENFORCE:
        held = "spec.mode is DryRun" if spec.mode == Mode.DRY_RUN else _held(status)
        return Word(True, "NotEnforced", f"{message}; not enforced: {held}")
    if status.unprotected_pods:
        message += f"; {unprotected(status)}"
    return Word(True, "OnAllNodes", message)


def _held(status: SeccompStatus) -> str:
    return (
        f"{status.refusals} calls were seen that it would refuse (status.seccomp.drift):"
        " put them into spec.seccomp.allow, or set force"
    )


def unprotected(status: SeccompStatus) -> str:
    """Return what to say of pods without a profile."""
    return (
        f"{status.unprotected_pods} of {status.unprotected_pods + status.bound_pods} pods run"
        " without it: make them anew; their namespace needs the label eunomia.dev/seccomp=enabled"
    )


def _lost_version(seccomp: Seccomp, profiles: Sequence[Kept]) -> str:
    if seccomp.profile is None:
        return ""
    for kept in profiles:
        known = versions(kept)
        if seccomp.profile not in known:
            there = ", ".join(known) or "none"
            return f"profile {kept.name} has no version {seccomp.profile}; there are: {there}"
    return ""
