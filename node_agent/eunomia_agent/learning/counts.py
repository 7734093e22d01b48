# SPDX-License-Identifier: Apache-2.0
"""In how many runs of a container each call occurred, and what else is added up over runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eunomia_agent.events.names import CAPABILITIES
from eunomia_agent.learning import calls
from eunomia_agent.learning.pods import Pods
from eunomia_agent.learning.run import Run, sum_asked, sum_refused
from eunomia_agent.learning.seen import NOTHING, Asked, RefusalKey, Refused


@dataclass(slots=True)
class Counts:
    """Runs that are counted, and of each name in how many of them it occurred."""

    runs: int = 0
    whole_runs: int = 0
    calls: Counter[str] = field(default_factory=Counter[str])
    compat_calls: Counter[str] = field(default_factory=Counter[str])
    runtime_calls: Counter[str] = field(default_factory=Counter[str])
    bases: Counter[str] = field(default_factory=Counter[str])
    refusals: dict[tuple[str, bool], Refused] = field(
        default_factory=dict[tuple[str, bool], Refused]
    )
    capabilities: dict[str, Asked] = field(default_factory=dict[str, Asked])
    capability_runs: Counter[str] = field(default_factory=Counter[str])
    pods: Pods = field(default_factory=Pods)

    def add(self, run: Run) -> None:
        """Count a run. A container that was made and never came to its exec has had none."""
        did = run.did()
        if did.called == NOTHING:
            return
        self.pods.add(run.pod)
        self.runs += 1
        self.whole_runs += did.whole
        self.calls.update(calls.names(did.called.own, calls.OWN))
        self.compat_calls.update(calls.names(did.called.compat | did.runtime.compat, calls.COMPAT))
        self.runtime_calls.update(calls.names(did.runtime.own, calls.OWN))
        if base := did.base(run.told_base):
            self.bases[base] += 1
        for key, each in did.refusals.items():
            self.refuse(_name_of(key), key.enforced, each)
        for number, asked in did.asked.items():
            name = CAPABILITIES.get(number) or f"#{number}"
            self.ask(name, asked)
            self.capability_runs[name] += 1

    def refuse(self, name: str, enforced: bool, each: Refused) -> None:
        """Add refusals."""
        before = self.refusals.get((name, enforced))
        self.refusals[name, enforced] = sum_refused(before, each)

    def ask(self, name: str, asked: Asked) -> None:
        """Add checks of a capability."""
        self.capabilities[name] = sum_asked(self.capabilities.get(name), asked)

    def copy(self) -> "Counts":
        """Return one that can be added to."""
        return Counts.restored(self.saved())

    def saved(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "runs": self.runs,
            "wholeRuns": self.whole_runs,
            "calls": dict(self.calls),
            "compatCalls": dict(self.compat_calls),
            "runtimeCalls": dict(self.runtime_calls),
            "bases": dict(self.bases),
            "refusals": [[*key, each.count, each.comm] for key, each in self.refusals.items()],
            "capabilities": [
                [name, each.granted, each.denied, each.call, each.comm, self.capability_runs[name]]
                for name, each in self.capabilities.items()
            ],
            "pods": self.pods.saved(),
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Counts":
        """Return what was saved. Raises KeyError, TypeError, ValueError."""
        found = cls(
            int(saved["runs"]),
            int(saved["wholeRuns"]),
            Counter(saved["calls"]),
            Counter(saved["compatCalls"]),
            Counter(saved["runtimeCalls"]),
            Counter(saved["bases"]),
        )
        if "pods" in saved:
            found.pods = Pods.restored(saved["pods"])
        else:  # an older agent did not count them
            found.pods.count = min(1, found.runs)
        for name, enforced, count, comm in saved["refusals"]:
            found.refusals[str(name), bool(enforced)] = Refused(int(count), str(comm))
        for name, granted, denied, call, comm, runs in saved["capabilities"]:
            found.capabilities[name] = Asked(int(granted), int(denied), int(call), str(comm))
            found.capability_runs[name] = int(runs)
        return found


def _name_of(key: RefusalKey) -> str:
    if key.compat:
        return f"{calls.name(key.number, calls.COMPAT)} (32-bit)"
    return calls.name(key.number, calls.OWN)
