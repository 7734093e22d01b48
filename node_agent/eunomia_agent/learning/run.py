# SPDX-License-Identifier: Apache-2.0
"""One container from its start to its end, and what it did."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from eunomia_agent.containers.confinement import NAMELESS, UNCONFINED, Confinement
from eunomia_agent.learning.seen import (
    FILTERED,
    NOTHING,
    UNFILTERED,
    Asked,
    Bits,
    RefusalKey,
    Refused,
    Seen,
)


@dataclass(frozen=True, slots=True)
class Did:
    """What a run did, all of its cgroups together."""

    whole: bool = True
    modes: int = 0
    called: Bits = NOTHING
    filtered: Bits = NOTHING
    started: Bits = NOTHING
    refusals: Mapping[RefusalKey, Refused] = field(default_factory=dict[RefusalKey, Refused])
    asked: Mapping[int, Asked] = field(default_factory=dict[int, Asked])

    def __add__(self, other: "Did | Seen") -> "Did":
        whole = other.whole and (not isinstance(other, Seen) or other.began)
        return Did(
            self.whole and whole,
            self.modes | other.modes,
            self.called | other.called,
            self.filtered | other.filtered,
            self.started | other.started,
            _refusals(self.refusals, other.refusals),
            _asked(self.asked, other.asked),
        )

    @property
    def runtime(self) -> Bits:
        """What the runtime calls under a filter: as seen, or, without one, what it may be."""
        return self.filtered if self.filtered != NOTHING else self.started

    def base(self, told: str) -> str:
        """Return the name of the filter that was on already, which hides what it refuses.

        told: what the runtime calls it. One that it knows nothing of the workload put on itself.
        """
        if self.modes & UNFILTERED:
            return UNCONFINED
        if self.modes & FILTERED:
            return NAMELESS if told in ("", UNCONFINED) else told
        return ""


class Run:
    """One container from its start to its end, over several lives of the agent."""

    def __init__(self, kept: Did | None = None, *, pod: str = "") -> None:
        """pod: uid of its pod, or what stands for one."""
        self._kept = kept
        self.pod = pod
        self.confinement: Confinement | None = None
        """What it may do; None: nobody has told yet."""
        self._seen: dict[int, Seen] = {}
        self.cgroups: set[int] = set()
        self.told: dict[str, set[str]] = {}
        """What was found out about it, by the uid of the job that was told."""
        self.to_be_bound: set[str] = set()
        """Jobs whose profile it should have got as it started."""
        self.idle_since: float | None = time.monotonic()
        """Since when it has no cgroup that is recorded."""

    def enter(self, cgroup_id: int) -> None:
        """Take note of a cgroup of the container."""
        self.cgroups.add(cgroup_id)
        self.idle_since = None

    def see(self, cgroup_id: int, seen: Seen) -> None:
        """Take in what a cgroup did up to now."""
        self._seen[cgroup_id] = seen

    def keep(self, cgroup_id: int) -> None:
        """Take note that a cgroup is not recorded any more."""
        seen = self._seen.pop(cgroup_id, None)
        if seen is not None:
            self._kept = (self._kept or Did()) + seen
        self.cgroups.discard(cgroup_id)
        if not self.cgroups and self.idle_since is None:
            self.idle_since = time.monotonic()

    def keep_all(self) -> None:
        """Take note that nothing is recorded any more: its end, should it come, goes unseen."""
        for cgroup_id in list(self.cgroups):
            self.keep(cgroup_id)
        self._kept = replace(self.did(), whole=False)

    def frozen(self) -> "Run":
        """Return one that stays as this one is now, for who does not see how it goes on."""
        run = Run(replace(self.did(), whole=False), pod=self.pod)
        run.confinement = self.confinement
        return run

    @property
    def told_base(self) -> str:
        """What the runtime calls the filter that is on; "": it has not told."""
        return self.confinement.base if self.confinement else ""

    def did(self) -> Did:
        """Return what it did up to now."""
        did = self._kept or Did()
        for seen in self._seen.values():
            did += seen
        return did

    def saved(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        did = self.did()
        return {
            "pod": self.pod,
            "confinement": self.confinement.saved() if self.confinement else None,
            "modes": did.modes,
            **{name: _hex(getattr(did, name)) for name in ("called", "filtered", "started")},
            "refusals": [
                [key.number, key.compat, key.enforced, each.count, each.comm]
                for key, each in did.refusals.items()
            ],
            "asked": [
                [capability, each.granted, each.denied, each.call, each.comm]
                for capability, each in did.asked.items()
            ],
            "told": {uid: sorted(each) for uid, each in self.told.items()},
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Run":
        """Return what was saved, part of which goes unseen. Raises KeyError, TypeError …"""
        run = cls(
            Did(
                False,
                int(saved["modes"]),
                _bits(saved["called"]),
                _bits(saved["filtered"]),
                _bits(saved["started"]),
                {
                    RefusalKey(int(number), bool(compat), bool(enforced)): Refused(int(count), comm)
                    for number, compat, enforced, count, comm in saved["refusals"]
                },
                {
                    int(capability): Asked(int(granted), int(denied), int(call), comm)
                    for capability, granted, denied, call, comm in saved["asked"]
                },
            ),
            pod=str(saved.get("pod", "")),
        )
        confinement = saved.get("confinement")
        if confinement is not None:
            run.confinement = Confinement.restored(confinement)
        told = saved.get("told", {})
        run.told = {str(uid): {str(each) for each in keys} for uid, keys in told.items()}
        return run


def _refusals(
    one: Mapping[RefusalKey, Refused], other: Mapping[RefusalKey, Refused]
) -> dict[RefusalKey, Refused]:
    return dict(one) | {key: sum_refused(one.get(key), each) for key, each in other.items()}


def _asked(one: Mapping[int, Asked], other: Mapping[int, Asked]) -> dict[int, Asked]:
    return dict(one) | {key: sum_asked(one.get(key), each) for key, each in other.items()}


def sum_refused(before: Refused | None, each: Refused) -> Refused:
    """Return refusals of one call together."""
    return each if before is None else Refused(before.count + each.count, before.comm)


def sum_asked(before: Asked | None, each: Asked) -> Asked:
    """Return checks of one capability together."""
    if before is None:
        return each
    granted, denied = before.granted + each.granted, before.denied + each.denied
    return Asked(granted, denied, before.call, before.comm)


def _hex(bits: Bits) -> list[str]:
    return [f"{bits.own:x}", f"{bits.compat:x}"]


def _bits(saved: Iterable[str]) -> Bits:
    own, compat = (int(each, 16) for each in saved)
    return Bits(own, compat)
