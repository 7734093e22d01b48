# SPDX-License-Identifier: Apache-2.0
"""What a profile takes over from another one that it names as its base. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from eunomia_api.seccomp import MAX_SYSCALLS, Base, ProfileVersion, SeccompProfileSpec

MOST_BASES = 8
"""Behind one another. Everybody's profiles wait while they are followed."""


@dataclass(frozen=True, slots=True)
class Known:
    """A profile that can be a base. owner: the uid of the policy that made it, if one did."""

    spec: SeccompProfileSpec
    owner: str = ""

    @property
    def fixed(self) -> bool:
        """Whether what it took over is written down in it, and does not change with its base."""
        return bool(self.owner)


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

    def under(self, own: SeccompProfileSpec) -> SeccompProfileSpec:
        """Return what becomes of a profile with it."""
        return own.model_copy(
            update={
                "base": self.added_to(own.base),
                "base_syscalls": list(self.syscalls),
                "base_profile_base": self.base,
            }
        )


NOTHING = Inherited()


def taken_over(had: SeccompProfileSpec | ProfileVersion) -> Inherited:
    """Return what a profile or a version of one has of its base.

    Where it does not say what that allowed beside its calls, all that it allows so itself may be of
    its base: to take that from it could end what runs with it.
    """
    base = had.base_profile_base
    if base is None and had.base_profile_name:
        base = had.base
    name, calls = had.base_profile_name or "", tuple(had.base_syscalls)
    return Inherited(name, base or Base.NONE, calls)


class Bases:
    """The profiles of one namespace, as bases of others."""

    def __init__(self, namespace: str, known: Mapping[str, Known]) -> None:
        """known: by name."""
        self.known = known
        self._namespace = namespace
        self._told: dict[str, Inherited] = {}
        self._owned: dict[str, list[str]] = {}
        for name, each in known.items():
            self._owned.setdefault(each.owner, []).append(name)

    def owned_by(self, policy: str) -> Collection[str]:
        """Return the names of those that a policy made. policy: its uid."""
        return self._owned.get(policy, ())

    def inherited(self, name: str, heirs: Collection[str] = ()) -> Inherited:
        """Return what is taken over from the profile of a name, and from its bases in turn.

        heirs: those that take it over, which can thus be no base of it.
        """
        problem = self._problem(name, heirs)
        return Inherited(name, problem=problem) if problem else self._allowed(name)

    def _problem(self, name: str, heirs: Collection[str]) -> str:
        """Return why the bases behind a name cannot be told; nothing if they can."""
        path = list[str]()
        at: str | None = name
        settled = False
        while at is not None:
            if at in heirs or (at in path and not settled):
                return _circle([*path, at], self._namespace)
            found = self.known.get(at)
            if found is None and not settled:
                return _missing(at, path, self._namespace)
            if found is None or at in path:
                break  # that is the concern of the one that is settled
            if len(path) == MOST_BASES:
                return _too_many(path, self._namespace)
            path.append(at)
            settled = settled or found.fixed
            at = found.spec.base_profile_name
        return ""

    def _allowed(self, name: str) -> Inherited:
        """Return what is allowed by a profile behind which there is no problem, found once."""
        told = self._told.get(name)
        if told is None:
            found = self.known[name]
            spec, below = found.spec, NOTHING
            if found.fixed:
                below = Inherited(syscalls=tuple(spec.base_syscalls))
            elif spec.base_profile_name is not None:
                below = self._allowed(spec.base_profile_name)
            calls = sorted({*spec.syscalls, *below.syscalls})[:MAX_SYSCALLS]
            told = Inherited(name, below.added_to(spec.base), tuple(calls))
            self._told[name] = told
        return told


def _missing(name: str, path: list[str], namespace: str) -> str:
    whose = f", the base of {path[-1]}" if path else ""
    return f"there is no SeccompProfile {name}{whose}, in namespace {namespace}: make it"


def _circle(path: list[str], namespace: str) -> str:
    bases = " has the base ".join(path)
    return f"in namespace {namespace}, {bases}: a profile can be no base of its own"


def _too_many(path: list[str], namespace: str) -> str:
    return (
        f"in namespace {namespace}, there are more than {MOST_BASES} bases behind one another,"
        f" {path[0]} the first of them: name one that has fewer"
    )
