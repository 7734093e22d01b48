# SPDX-License-Identifier: Apache-2.0
"""`eunomia seccomp diff`: what one profile allows and another does not."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eunomia_agent.cli import profiles
from eunomia_agent.cli.errors import one_line

Origin = Mapping[str, Any] | None
"""The provenance of a version."""
Allowed = Mapping[str, frozenset[str]]
"""By call: the conditions under which it is allowed; empty: whatever its arguments."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two profiles differ. changed: calls that both allow, with other arguments.

    architectures, default, origins: of both, the older first. origins: where each is from, if told.
    """

    added: list[str]
    removed: list[str]
    changed: list[str]
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
            "changed": self.changed,
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
        lines += [f"~ {one_line(call)}, with other arguments" for call in self.changed]
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
    was, now = _allowed(before), _allowed(after)
    return Comparison(
        added=sorted(now.keys() - was.keys()),
        removed=sorted(was.keys() - now.keys()),
        changed=sorted(name for name in was.keys() & now.keys() if was[name] != now[name]),
        architectures=(_architectures(before), _architectures(after)),
        default=(before["defaultAction"], after["defaultAction"]),
        origins=(profiles.origin(old), profiles.origin(new)),
    )


def _architectures(found: Mapping[str, Any]) -> list[str]:
    return sorted(found.get("architectures") or [])


def _allowed(found: Mapping[str, Any]) -> Allowed:
    conditions: dict[str, set[str]] = defaultdict(set)
    whole = set[str]()
    for rule in found.get("syscalls") or ():
        if rule["action"] == profiles.ALLOW and rule.get("args"):
            for name in rule["names"]:
                conditions[name].add(json.dumps(rule["args"], sort_keys=True))
        elif rule["action"] == profiles.ALLOW:
            whole.update(rule["names"])
    return {
        name: frozenset() if name in whole else frozenset(conditions[name])
        for name in profiles.allowed(found)
    }
