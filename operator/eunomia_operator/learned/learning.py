# SPDX-License-Identifier: Apache-2.0
"""What all nodes have learned of a policy's containers, added up as they tell it.

A node tells all that it has learned each time, and there may be thousands: only the difference to
what it told before is worked in.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from eunomia_api import agent_pb2
from eunomia_api.policystatus import MAX_CONTAINERS
from eunomia_api.seccomp import MAX_SYSCALLS
from eunomia_operator.text import plain

MOST_REFUSALS = 256
MOST_CAPABILITIES = 64
MOST_PODS = 16
LONGEST_NAME = 253
MOST_RUNS = 2**32 - 1
LARGEST = 2**63 - 1
_CONTAINER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_CALL = re.compile(r"(_?[a-z][a-z0-9_]{0,61}|#[0-9]{1,9})( \(32-bit\))?")
_CAPABILITY = re.compile(r"CAP_[A-Z0-9_]{1,59}|#[0-9]{1,9}")

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Sum:
    """Of the containers of one name. times: by node, since when and when last something was new."""

    runs: int = 0
    whole_runs: int = 0
    calls: Counter[str] = field(default_factory=Counter[str])
    compat_calls: Counter[str] = field(default_factory=Counter[str])
    runtime_calls: Counter[str] = field(default_factory=Counter[str])
    bases: Counter[str] = field(default_factory=Counter[str])
    machines: Counter[str] = field(default_factory=Counter[str])
    pods: Counter[str] = field(default_factory=Counter[str])
    replicas: int = 0
    untold: int = 0
    """Nodes that have seen runs, and do not tell of how many pods."""
    given: dict[str, agent_pb2.Given] = field(default_factory=dict[str, agent_pb2.Given])
    """By node."""
    last_pods: dict[str, agent_pb2.Pod] = field(default_factory=dict[str, agent_pb2.Pod])
    """By node."""
    refusals: Counter[tuple[str, bool]] = field(default_factory=Counter[tuple[str, bool]])
    callers: dict[tuple[str, bool], str] = field(default_factory=dict[tuple[str, bool], str])
    granted: Counter[str] = field(default_factory=Counter[str])
    denied: Counter[str] = field(default_factory=Counter[str])
    asking: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """By capability and the call that asked for it: in how many runs."""
    times: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def work_in(self, node: str, told: agent_pb2.Learned, sign: int) -> None:
        """Add what a node tells (sign 1), or take away what it told before (sign -1)."""
        self.runs += sign * told.runs
        self.whole_runs += sign * told.whole_runs
        self.replicas += sign * told.replicas
        self.untold += sign * (told.runs > 0 and not told.HasField("replicas"))
        self._call(told, sign)
        self._name(told, sign)
        for refusal in told.refusals[:MOST_REFUSALS]:
            if _CALL.fullmatch(refusal.call):
                self._refuse(refusal, sign)
        for asked in told.capabilities[:MOST_CAPABILITIES]:
            if _CAPABILITY.fullmatch(asked.name):
                _count(self.granted, asked.name, sign * asked.granted)
                _count(self.denied, asked.name, sign * asked.denied)
                if _CALL.fullmatch(asked.call):
                    _count(self.asking, (asked.name, asked.call), sign * max(1, asked.runs))
        if sign > 0:
            self.times[node] = told.since_ms, told.last_new_ms
            if told.HasField("given"):
                self.given[node] = told.given
            if told.HasField("last_pod"):
                self.last_pods[node] = told.last_pod
        else:
            del self.times[node]
            self.given.pop(node, None)
            self.last_pods.pop(node, None)

    def _call(self, told: agent_pb2.Learned, sign: int) -> None:
        for counter, calls in (
            (self.calls, told.calls),
            (self.compat_calls, told.compat_calls),
            (self.runtime_calls, told.runtime_calls),
        ):
            for each in calls[:MAX_SYSCALLS]:
                if _CALL.fullmatch(each.name):
                    _count(counter, each.name, sign * each.runs)

    def _name(self, told: agent_pb2.Learned, sign: int) -> None:
        for counter, names in (
            (self.bases, told.base.split(", ")),
            (self.machines, (told.architecture,)),
            (self.pods, told.pods[:MOST_PODS]),
        ):
            for name in names:
                if name:
                    _count(counter, name[:LONGEST_NAME], sign)

    def _refuse(self, told: agent_pb2.Refusal, sign: int) -> None:
        key = told.call, told.enforced
        _count(self.refusals, key, sign * told.count)
        if key in self.refusals:
            self.callers.setdefault(key, plain(told.comm, 64))
        else:
            self.callers.pop(key, None)

    def listed(self, container: str) -> list[agent_pb2.Learned]:
        """Return it as nodes tell it: one for all, and one more for each further machine."""
        first, *others = sorted(self.machines) or [""]
        calls = self._first_calls()
        whole = agent_pb2.Learned(
            container=container,
            runs=min(self.runs, MOST_RUNS),
            whole_runs=min(self.whole_runs, MOST_RUNS),
            calls=_wire(self.calls),
            compat_calls=_wire(self.compat_calls),
            runtime_calls=_wire(self.runtime_calls),
            since_ms=min((since for since, _ in self.times.values() if since), default=0),
            last_new_ms=max((last for _, last in self.times.values()), default=0),
            base=", ".join(sorted(self.bases)),
            capabilities=[
                agent_pb2.CapabilityCount(
                    name=name,
                    granted=min(self.granted[name], LARGEST),
                    denied=min(self.denied[name], LARGEST),
                    call=calls.get(name, ""),
                )
                for name in sorted(self.granted.keys() | self.denied.keys())[:MOST_CAPABILITIES]
            ],
            refusals=[
                agent_pb2.Refusal(
                    call=call,
                    count=min(count, LARGEST),
                    comm=self.callers[call, enforced],
                    enforced=enforced,
                )
                for (call, enforced), count in sorted(self.refusals.items())
            ],
            architecture=first,
            pods=[plain(pod, LONGEST_NAME) for pod in list(self.pods)[:MOST_PODS]],
            replicas=None if self.untold else min(self.replicas, MOST_RUNS),
            given=self._given(),
        )
        return [whole, *(agent_pb2.Learned(architecture=each) for each in others)]

    def _first_calls(self) -> dict[str, str]:
        """Return, for each capability, the call that asked for it in the most runs."""
        most = sorted(self.asking.items(), key=lambda each: (each[1], each[0]))
        return {name: call for (name, call), _ in most}

    def _given(self) -> agent_pb2.Given | None:
        """Return what containers have that run now, or, while none does, what the last one had."""
        now = [each for each in self.given.values() if not each.until_ms]
        last = max(self.given.values(), key=lambda each: each.until_ms, default=None)
        given = now or ([] if last is None else [last])
        if not given:
            return None
        names = {name for each in given for name in each.capabilities[:MOST_CAPABILITIES]}
        known = sorted(name for name in names if _CAPABILITY.fullmatch(name))
        return agent_pb2.Given(
            capabilities=known[:MOST_CAPABILITIES],
            privileged=any(each.privileged for each in given),
            until_ms=given[0].until_ms,
        )


class Learning:
    """What is known by now of a policy's containers, by their name."""

    def __init__(self) -> None:
        self._told: dict[str, list[bytes]] = {}
        self._sums: dict[str, _Sum] = {}

    def hear(self, node: str, told: Iterable[agent_pb2.Learned]) -> None:
        """Take in all that a node has learned."""
        self.forget(node)
        names: set[str] = set()
        for each in told:
            name = each.container
            if _CONTAINER.fullmatch(name) and name not in names and len(names) < MAX_CONTAINERS:
                names.add(name)
                self._sums.setdefault(name, _Sum()).work_in(node, each, 1)
                self._told.setdefault(node, []).append(each.SerializeToString())

    def forget(self, node: str) -> None:
        """Forget what a node has told."""
        for each in self._told.pop(node, ()):
            told = agent_pb2.Learned.FromString(each)
            found = self._sums[told.container]
            found.work_in(node, told, -1)
            if not found.times:
                del self._sums[told.container]

    @property
    def names(self) -> KeysView[str]:
        """Names of the containers."""
        return self._sums.keys()

    def pods(self, container: str) -> Sequence[tuple[str, str]]:
        """Return namespaces and names of pods that have a container, the newest of some nodes."""
        return [
            (each.namespace, each.name)
            for each in islice(self._sums[container].last_pods.values(), MOST_PODS)
            if _NAME.fullmatch(each.namespace) and _NAME.fullmatch(each.name)
        ]

    def listed(self) -> Mapping[str, Sequence[agent_pb2.Learned]]:
        """Return what all nodes have learned together, by container."""
        return {name: found.listed(name) for name, found in self._sums.items()}


def _count(counter: Counter[K], key: K, times: int) -> None:
    counter[key] += times
    if not counter[key]:
        del counter[key]


def _wire(counts: Mapping[str, int]) -> list[agent_pb2.CallCount]:
    return [
        agent_pb2.CallCount(name=name, runs=min(runs, MOST_RUNS))
        for name, runs in sorted(counts.items())
    ]
