# SPDX-License-Identifier: Apache-2.0
"""What a container does beside what a job expects of it: refused calls and capabilities. Pure.

Each thing is found once a container and job: `told` holds what was found before.
"""

import time
from collections.abc import Container, Iterator
from typing import Any

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.names import CAPABILITIES
from eunomia_agent.finding import REFUSED, Finding
from eunomia_agent.learning import calls
from eunomia_agent.learning.seen import Asked, Caller, CallerKey, Of, RefusalKey, Seen
from eunomia_api import agent_pb2
from eunomia_api.findings import CALL_REFUSED, CAPABILITY_REFUSED, PROFILE_MISSING

DRY = "dry"
"""Behind the key of what would be refused."""
_NAMED = {True: "{comm} ({pid})", False: "{comm}"}
"""Who did it: whether more than its name is known."""


class Audit:
    """What one job expects of its containers, by their name."""

    def __init__(self, learning: agent_pb2.Learning) -> None:
        self._bound = learning.bound
        self._paths = {each.container: each.path for each in learning.profiles}
        self._allowed = {each.container: frozenset(each.syscalls) for each in learning.audited}
        self._capabilities = {
            each.container: (frozenset(each.used), frozenset(each.denied))
            for each in learning.audited_capabilities
        }

    @property
    def binds(self) -> bool:
        """Whether containers that start now get profiles."""
        return self._bound

    def wears(self, owner: Owner, worn: Confinement) -> bool:
        """Tell whether the profile that a container wears is that of the job."""
        return bool(worn.profile) and worn.profile == self._paths.get(owner.container)

    def of_start(self, owner: Owner, worn: Confinement, told: Container[str]) -> Iterator[Finding]:
        """Give what is to be said of how a container started."""
        is_news = f"{PROFILE_MISSING} " not in told
        if is_news and not worn.profile and owner.container in self._paths:
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            message = "it started without the seccomp profile of its policy"
            yield Finding(PROFILE_MISSING, "", owner, now, message)

    def of_deeds(
        self, owner: Owner, seen: Seen, told: Container[str], *, wears: bool
    ) -> Iterator[Finding]:
        """Give what one of a container's cgroups did, of which nothing was found before.

        wears: whether it is the job's profile that refuses it calls.
        """
        yield from self._calls(owner, seen, told, wears=wears)
        yield from self._asked(owner, seen, told)

    def _profile(self, owner: Owner) -> frozenset[str] | None:
        return self._allowed.get(owner.container, self._allowed.get(""))

    def _is_named(self, owner: Owner) -> bool:
        """Tell whether the profile is for containers of its name, which are to wear it.

        One for no name is worn by nobody: beside it, whatever is refused counts.
        """
        return bool(owner.container) and owner.container in self._allowed

    def _calls(
        self, owner: Owner, seen: Seen, told: Container[str], *, wears: bool
    ) -> Iterator[Finding]:
        allowed = self._profile(owner)
        for key, refused in seen.refusals.items() if allowed is not None else ():
            name = calls.name(key.number, calls.COMPAT if key.compat else calls.OWN)
            shown = f"{name} (32-bit)" if key.compat else name
            what = _key(shown, dry=not key.enforced)
            if f"{CALL_REFUSED} {what}" in told or name in (allowed or ()):
                continue
            if key.enforced and not wears and self._is_named(owner):
                continue  # another profile refuses it, as ever
            caller = seen.callers.get(_caller_of(key))
            row = {"call": shown, **_who(caller, refused.comm)}
            how = "refused" if key.enforced else "would refuse"
            yield Finding(
                *(CALL_REFUSED, what, owner, _at(caller)),
                message=f"{_NAMED[caller is not None]} called {{call}}, which its seccomp profile"
                f" {how}",
                row=row,
                count=refused.count,
                response=REFUSED if key.enforced else "",
                dry_run=not key.enforced,
            )

    def _asked(self, owner: Owner, seen: Seen, told: Container[str]) -> Iterator[Finding]:
        known = self._capabilities.get(owner.container)
        if known is None:
            return
        used, denied = known
        for number, asked in seen.asked.items():
            for of, count, expected in (
                (Of.WAS_GRANTED, asked.granted, used),
                (Of.WAS_DENIED, asked.denied, used | denied),
            ):
                key = CallerKey(of, number)
                new = f"{CAPABILITY_REFUSED} {_capability_key(key)}" not in told
                if count and new and _capability_of(key) not in expected:
                    yield _capability(owner, key, asked, seen.callers.get(key))


def _capability_of(key: CallerKey) -> str:
    return CAPABILITIES.get(key.number) or f"#{key.number}"


def _capability_key(key: CallerKey) -> str:
    return _key(_capability_of(key), dry=key.of is Of.WAS_GRANTED)


def _capability(owner: Owner, key: CallerKey, asked: Asked, caller: Caller | None) -> Finding:
    denied = key.of is Of.WAS_DENIED
    told = "asked for {capability} and was refused it"
    if not denied:
        told = "used {capability}, which is not among those recommended"
    call = calls.name(asked.call, calls.OWN) if asked.call >= 0 else ""
    return Finding(
        *(CAPABILITY_REFUSED, _capability_key(key), owner, _at(caller)),
        message=f"{_NAMED[caller is not None]} {told}",
        row={"capability": _capability_of(key), "call": call, **_who(caller, asked.comm)},
        count=asked.denied if denied else asked.granted,
        response=REFUSED if denied else "",
        dry_run=not denied,
    )


def _key(name: str, *, dry: bool) -> str:
    return f"{name} {DRY}" if dry else name


def _caller_of(key: RefusalKey) -> CallerKey:
    of = Of.WAS_REFUSED if key.enforced else Of.WOULD_BE_REFUSED
    return CallerKey(of, key.number, key.compat)


def _at(caller: Caller | None) -> int:
    return caller.time if caller else time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _who(caller: Caller | None, comm: str) -> dict[str, Any]:
    """Return what is known of who did it first, as rows tell it."""
    if caller is None:
        return {"comm": comm}
    return {
        "comm": caller.comm,
        "pid": caller.pid,
        "uid": caller.uid,
        "exe": caller.exe,
        "ancestors": [comm for _, comm in caller.ancestors],
        "ancestor_pids": [pid for pid, _ in caller.ancestors],
    }
