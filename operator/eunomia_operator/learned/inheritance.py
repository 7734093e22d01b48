# SPDX-License-Identifier: Apache-2.0
"""What a profile takes over from another one that it names as its base. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from eunomia_api.seccomp import MAX_SYSCALLS, Base, SeccompProfileSpec


@dataclass(frozen=True, slots=True)
class Known:
    """A profile that can be a base.

    fixed: a policy made it. What it took over from a base of its own is written down in it, and
    does not change with that one.
    """

    spec: SeccompProfileSpec
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the base and those below it allow. problem: why that cannot be told, if it cannot."""

    name: str = ""
    base: Base = Base.NONE
    syscalls: tuple[str, ...] = ()
    problem: str = ""

    def added_to(self, base: Base) -> Base:
        """Return what becomes of a profile's own base with it."""
        return Base.RUNTIME_DEFAULT if Base.RUNTIME_DEFAULT in (base, self.base) else base


NOTHING = Inherited()


def inherited(
    name: str, known: Mapping[str, Known], namespace: str, heirs: Collection[str] = ()
) -> Inherited:
    """Return what is taken over from the profile of a name, and from its bases in turn.

    known: the profiles of a namespace, by name. heirs: those that take it over, which can thus be
    no base of it.
    """
    base, calls, path = Base.NONE, set[str](), list[str]()
    at: str | None = name
    settled = False
    while at is not None:
        if at in heirs or (at in path and not settled):
            return Inherited(name, problem=_circle([*path, at], namespace))
        found = known.get(at)
        if found is None and not settled:
            return Inherited(name, problem=_missing(at, path, namespace))
        if found is None or at in path:
            break  # that is the concern of the one that is settled
        path.append(at)
        if not settled:
            calls.update(found.spec.syscalls)
            calls.update(found.spec.base_syscalls if found.fixed else ())
            base = Inherited(base=base).added_to(found.spec.base)
        settled = settled or found.fixed
        at = found.spec.base_profile_name
    return Inherited(name, base, tuple(sorted(calls)[:MAX_SYSCALLS]))


def _missing(name: str, path: list[str], namespace: str) -> str:
    whose = f", the base of {path[-1]}" if path else ""
    return f"there is no SeccompProfile {name}{whose}, in namespace {namespace}: make it"


def _circle(path: list[str], namespace: str) -> str:
    bases = " has the base ".join(path)
    return f"in namespace {namespace}, {bases}: a profile can be no base of its own"
