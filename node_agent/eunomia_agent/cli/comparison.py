# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp diff`: what one profile allows and another does not."""

import errno
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eunomia_agent.cli import profiles
from eunomia_agent.cli.errors import one_line

Origin = Mapping[str, Any] | None
"""The provenance of a version."""
Fate = frozenset[tuple[str, str]]
"""What becomes of a call: actions, each with its conditions as JSON; empty: whatever arguments."""
_SAME = {"SCMP_ACT_KILL": "SCMP_ACT_KILL_THREAD"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two profiles differ. changed: calls that both let pass or neither, and how they differ.

    architectures, default, origins: of both, the older first. origins: where each is from, if told.
    """

    added: list[str]
    removed: list[str]
    changed: Mapping[str, str]
    architectures: tuple[list[str], list[str]]
    default: tuple[str, str]
    origins: tuple[Origin, Origin] = (None, None)

    @property
    def differ(self) -> bool:
        """Whether they do."""
        calls = self.added or self.removed or self.changed
        return bool(calls) or any(old != new for old, new in (self.architectures, self.default))

    def as_json(self) -> str:
        """Return it as a JSON object."""
        told: dict[str, Any] = {
            "added": self.added,
            "removed": self.removed,
            "changed": list(self.changed),
            "architectures": dict(zip(("old", "new"), self.architectures, strict=True)),
            "defaultAction": dict(zip(("old", "new"), self.default, strict=True)),
            "provenance": dict(zip(("old", "new"), self.origins, strict=True)),
        }
        return json.dumps(told)

    def as_text(self) -> str:
        """Return a line for each call, and for what else differs; nothing for the same."""
        if not self.differ:
            return ""
        named = zip(("---", "+++"), self.origins, strict=True)
        lines = [f"{mark} {one_line(_of(told))}" for mark, told in named if told]
        lines += [f"- {one_line(call)}" for call in self.removed]
        lines += [f"+ {one_line(call)}" for call in self.added]
        lines += [f"~ {one_line(call)}{how}" for call, how in self.changed.items()]
        old, new = self.architectures
        if old != new:
            lines.append(f"architectures: {', '.join(old) or '-'} -> {', '.join(new) or '-'}")
        if self.default[0] != self.default[1]:
            lines.append(f"any other call: {self.default[0]} -> {self.default[1]}")
        return "\n".join(lines)


def _of(told: Mapping[str, Any]) -> str:
    pods = ", ".join(told["pods"]) or "no pod that is known"
    seen = f"seen from {told['since'] or 'an unknown time'} to {told['until'] or 'now'}"
    return f"of {told['runs']} runs, {seen}, of {pods}"


def compare(old: str, new: str) -> Comparison:
    """Compare two profiles: FILE or FILE:VERSION. Raises AgentError."""
    before, after = profiles.checked(old), profiles.checked(new)
    was, now = profiles.allowed(before), profiles.allowed(after)
    return Comparison(
        added=sorted(now - was),
        removed=sorted(was - now),
        changed={
            name: _how(*fates) for name, *fates in _fates(before, after) if name not in was ^ now
        },
        architectures=(_architectures(before), _architectures(after)),
        default=(_default(before), _default(after)),
        origins=(profiles.origin(old), profiles.origin(new)),
    )


def _architectures(found: Mapping[str, Any]) -> list[str]:
    return sorted(found.get("architectures") or [])


def _default(found: Mapping[str, Any]) -> str:
    return _action(found["defaultAction"], found.get("defaultErrnoRet"))


def _action(name: str, number: int | None) -> str:
    """Return an action as it is told: with its error, unless that is the usual one."""
    if name != "SCMP_ACT_ERRNO" or number in (None, errno.EPERM):
        return _SAME.get(name, name)
    return f"{name} ({errno.errorcode.get(number, number)})"


def _fates(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Fate, Fate]]:
    """Give the calls that are named, with what becomes of them, where that is not the same."""
    before, after = _named(old), _named(new)
    others = [frozenset({(_default(each), "")}) for each in (old, new)]
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name, others[0]), after.get(name, others[1])
        if was != now:
            yield name, was, now


def _named(found: Mapping[str, Any]) -> Mapping[str, Fate]:
    """Return what becomes of each call that has a rule of its own; the default's is none."""
    fates: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for rule in found.get("syscalls") or ():
        action = _action(rule["action"], rule.get("errnoRet"))
        for name in rule["names"] if action != _default(found) else ():
            fates[name].add((action, _conditions(rule)))
    return {
        name: frozenset(each for each in fate if not each[1] or (each[0], "") not in fate)
        for name, fate in fates.items()
    }


def _conditions(rule: Mapping[str, Any]) -> str:
    arguments = ({"value": 0, "valueTwo": 0, **each} for each in rule.get("args") or ())
    return ", ".join(sorted(json.dumps(each, sort_keys=True) for each in arguments))


def _how(was: Fate, now: Fate) -> str:
    old, new = (", ".join(sorted({action for action, _ in fate})) for fate in (was, now))
    return ", with other arguments" if old == new else f": {old} -> {new}"
