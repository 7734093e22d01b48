# SPDX-License-Identifier: Apache-2.0
"""A seccomp profile out of what was learned: when enough was seen, and what it allows. Pure.

    merged = merge(learned)                    # what agents report of one container's name
    verdict = judge(merged, Thresholds(…), now_ms)
    if verdict.converged:
        content = encode(profile(merged.allowed, merged.architectures, base=…, allow=…))
        sha256 = digest(content)

Runs of a container are samples, and what each called its species: what no run has shown yet is
estimated from what only one or two have (A. Chao, "Estimating the population size for capture-
recapture data with unequal catchability", 1987; A. Chao and L. Jost, "Coverage-based rarefaction
and extrapolation", 2012, after Good and Turing).
"""

import errno
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eunomia_api import agent_pb2, runtimedefault

_BACK = "exit exit_group restart_syscall rt_sigreturn sigreturn"
_VDSO = "clock_getres clock_gettime clock_gettime64 getcpu gettimeofday time"
_THREADS = """
epoll_ctl epoll_pwait futex futex_time64 getpid gettid madvise mmap munmap nanosleep rt_sigprocmask
sched_yield sigaltstack tgkill
"""
ALWAYS = frozenset(f"{_BACK} {_VDSO} {_THREADS}".split())
"""What every profile allows: the ways back from a signal and out, which a run may happen not to
take; what the vDSO answers without a call on one machine and with one on the next; and what the
threads of a runtime written in Go may do at any moment up to the exec. A container whose runtime is
refused one of these fails to start, now and then."""

ABIS = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
"""A machine's own ABI and those of other programs that it runs. One that a profile does not list
is not refused but killed: libseccomp's SCMP_FLTATR_ACT_BADARCH."""
MAX_REASONS = 5
LETS_PASS = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"})
"""Actions after which the kernel makes the call; the second one leaves a word in its log."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What containers of one name did, on all nodes. Counts of runs by the name of the call.

    since_ms, last_new_ms: Unix time; 0: never. bases: names of the profiles that were on, which
    hide what they refuse.
    """

    runs: int = 0
    whole_runs: int = 0
    replicas: int | None = None
    """Different pods; None: not known of all."""
    calls: Mapping[str, int] = field(default_factory=dict[str, int])
    compat_calls: Mapping[str, int] = field(default_factory=dict[str, int])
    runtime_calls: Mapping[str, int] = field(default_factory=dict[str, int])
    since_ms: int = 0
    last_new_ms: int = 0
    bases: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    pods: tuple[str, ...] = ()

    @property
    def allowed(self) -> frozenset[str]:
        """Names of all that was called, by the workload or by the runtime under its filter."""
        seen = self.calls.keys() | self.compat_calls.keys() | self.runtime_calls.keys()
        return frozenset(name for name in seen if not name.startswith("#"))

    @property
    def nameless(self) -> tuple[str, ...]:
        """Calls that were made and have no name here, as #NUMBER: no profile can allow them."""
        return tuple(sorted(name for name in self.calls if name.startswith("#")))

    @property
    def architectures(self) -> tuple[str, ...]:
        """The ABIs of the machines that it ran on, each with those beside it."""
        return tuple(abi for machine in sorted(self.machines) for abi in ABIS.get(machine, ()))


@dataclass(frozen=True, slots=True)
class Unseen:
    """What has not been seen yet, as estimated. calls: at least so many names (Chao2).

    percent: how likely the next call-of-a-run is to be of a name that no run has shown (Good and
    Turing); 100 for fewer than two runs, which say nothing.
    """

    calls: float
    percent: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When enough was seen: a policy's spec.seccomp.convergence. quiet_ms: since the last new."""

    min_runs: int = 3
    min_replicas: int = 1
    min_restarts: int = 1
    quiet_ms: int = 600_000
    max_unseen_percent: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a profile can be made, and if not, what is missing: one sentence each."""

    converged: bool
    reasons: tuple[str, ...]
    unseen: Unseen


def merge(reports: Iterable[agent_pb2.Learned]) -> Merged:
    """Add up the reports of all nodes about containers of one name."""
    found = list(reports)
    calls, compat, runtime = Counter[str](), Counter[str](), Counter[str]()
    for each in found:
        calls.update({call.name: call.runs for call in each.calls})
        compat.update({call.name: call.runs for call in each.compat_calls})
        runtime.update({call.name: call.runs for call in each.runtime_calls})
    return Merged(
        runs=sum(each.runs for each in found),
        whole_runs=sum(each.whole_runs for each in found),
        replicas=_replicas(found),
        calls=dict(calls),
        compat_calls=dict(compat),
        runtime_calls=dict(runtime),
        since_ms=min((each.since_ms for each in found if each.since_ms), default=0),
        last_new_ms=max((each.last_new_ms for each in found), default=0),
        bases=frozenset(base for each in found for base in each.base.split(", ") if base),
        machines=frozenset(each.architecture for each in found if each.architecture),
        images=frozenset(each.image for each in found if each.image),
        pods=tuple(dict.fromkeys(pod for each in found for pod in each.pods)),
    )


def _replicas(reports: Iterable[agent_pb2.Learned]) -> int | None:
    told = [each for each in reports if each.runs]
    if not all(each.HasField("replicas") for each in told):
        return None
    return sum(each.replicas for each in told)


def unseen(incidences: Iterable[int], runs: int) -> Unseen:
    """Estimate what has not been seen. incidences: of each call, in how many runs it occurred."""
    counts = [count for count in incidences if count > 0]
    once, twice, total = counts.count(1), counts.count(2), sum(counts)
    if runs < 2 or not total:
        return Unseen(float(once), 100.0)
    rest = (runs - 1) / runs
    calls = rest * (once * once / (2 * twice) if twice else once * (once - 1) / 2)
    missed = (runs - 1) * once
    weight = missed / (missed + 2 * twice) if missed else 0.0
    return Unseen(calls, 100.0 * once / total * weight)


def judge(merged: Merged, thresholds: Thresholds, now_ms: int) -> Verdict:
    """Say whether enough was seen to make a profile of."""
    counts = [*merged.calls.values(), *merged.compat_calls.values()]
    estimate = unseen(counts, merged.runs)
    quiet_ms = max(0, now_ms - merged.last_new_ms)
    reasons: list[str] = []
    if merged.runs < thresholds.min_runs:
        reasons.append(f"{_counted(merged.runs, 'run')} of {thresholds.min_runs} were seen")
    replicas = min(1, merged.runs) if merged.replicas is None else merged.replicas
    if replicas < thresholds.min_replicas:
        reasons.append(f"{_counted(replicas, 'pod')} of {thresholds.min_replicas} were seen")
    if merged.whole_runs < thresholds.min_restarts:
        reasons.append(
            f"{_counted(merged.whole_runs, 'start')} of {thresholds.min_restarts} were seen: "
            "restart a pod"
        )
    elif not merged.runtime_calls:
        reasons.append(
            "no start of a container was seen, and so not what its runtime calls: restart a pod"
        )
    if quiet_ms < thresholds.quiet_ms:
        reasons.append(
            f"the last new call came {quiet_ms // 1000} s ago, less than "
            f"{thresholds.quiet_ms // 1000} s"
        )
    if estimate.percent > thresholds.max_unseen_percent:
        reasons.append(
            f"an estimated {estimate.percent:.1f} % is unseen, more than "
            f"{thresholds.max_unseen_percent:g} %"
        )
    return Verdict(not reasons, tuple(reasons[:MAX_REASONS]), estimate)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def profile(
    calls: Iterable[str],
    architectures: Iterable[str],
    *,
    base: str = "None",
    allow: Iterable[str] = (),
    rules: Iterable[Mapping[str, Any]] = (),
    default_action: str = "SCMP_ACT_ERRNO",
) -> dict[str, Any]:
    """Return a profile as the OCI runtime specification and Docker have it.

    calls: those that were learned. base: "RuntimeDefault" adds what runtimes allow by default.
    allow: further names. rules: of calls that are allowed with some arguments. A call that is
    learned is allowed whatever its arguments; threads may be made in any case. Raises ValueError
    for another base.
    """
    if base not in ("None", "RuntimeDefault"):
        raise ValueError(f"the base of a profile is None or RuntimeDefault, not {base!r}")
    learned = {*calls, *allow}
    names, conditional = learned | ALWAYS, runtimedefault.THREADS
    if base == "RuntimeDefault":
        names |= runtimedefault.ALLOWED
        conditional = runtimedefault.CONDITIONAL
    found = [rule for rule in conditional if learned.isdisjoint(rule["names"])]
    for rule in rules:
        rest = {**rule, "names": [name for name in rule["names"] if name not in names]}
        if rest["names"] and rest not in found:
            found.append(rest)
    return {
        "defaultAction": default_action,
        "architectures": list(dict.fromkeys(architectures)),
        "syscalls": [{"names": sorted(names), "action": "SCMP_ACT_ALLOW"}, *found],
    }


def allowed_names(found: Mapping[str, Any]) -> frozenset[str]:
    """Return the calls that rules of a profile let pass, with some arguments at least."""
    rules = found.get("syscalls") or ()
    return frozenset(
        name for rule in rules if rule["action"] in LETS_PASS for name in rule["names"]
    )


def borne_names(found: Mapping[str, Any]) -> frozenset[str]:
    """Return the calls that a profile allows, or answers as if the kernel did not have them.

    Who makes one of the latter, as C libraries do with clone3, goes on with another.
    """
    rules = found.get("syscalls") or ()
    absent = (rule for rule in rules if rule.get("errnoRet") == errno.ENOSYS)
    return allowed_names(found) | {name for rule in absent for name in rule["names"]}


def encode(found: Mapping[str, Any]) -> bytes:
    """Return the file of a profile: the same bytes for the same profile."""
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
