# SPDX-License-Identifier: Apache-2.0
"""Seccomp profiles in files: those that runtimes take, and versions of a SeccompProfile object."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eunomia_agent.cli.errors import CommandError
from eunomia_agent.learning import calls
from eunomia_agent.learning.libseccomp import ProfileInvalid, compile_profile
from eunomia_api.profile import LETS_PASS, allowed_names, borne_names, profile

MAX_BYTES = 1 << 20
ALLOW = "SCMP_ACT_ALLOW"
_DOCKERS = ("includes", "excludes")
"""Conditions of a rule that Docker decides before it makes a profile of it."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a profile allows: calls, and calls with some arguments. base: as for `profile`."""

    base: str = "None"
    calls: frozenset[str] = frozenset()
    rules: tuple[Mapping[str, Any], ...] = ()


def read(where: str) -> Mapping[str, Any]:
    """Return the profile in a file. Raises CommandError.

    where: FILE, or FILE:VERSION for a version of the SeccompProfile in it, as
    `kubectl get seccompprofile NAME -o json` has it; without, the one that it is at.
    """
    return _read(where)[0]


def origin(where: str) -> Mapping[str, Any] | None:
    """Return the provenance of a version; None of a file that is none, or where none is told."""
    return _read(where)[1]


def _read(where: str) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    path, version = _place(where)
    found = _object(path)
    if found.get("kind") == "SeccompProfile":
        return _of_version(found, version, path)
    if version:
        raise CommandError(f"{path}: is no SeccompProfile object, and so has no version {version}")
    if _is_template(found):
        raise CommandError(
            f"{path}: is a template of Docker's (archMap, includes, excludes): give what is made "
            "of it, as `docker inspect` or the runtime's config.json have it"
        )
    return found, None


def _is_template(found: Mapping[str, Any]) -> bool:
    listed = found.get("syscalls")
    rules: list[Any] = listed if isinstance(listed, list) else []
    conditions = (each.get(key) for each in rules if isinstance(each, dict) for key in _DOCKERS)
    return "archMap" in found or any(conditions)


def _place(where: str) -> tuple[Path, str]:
    file, colon, version = where.rpartition(":")
    return (Path(file), version) if colon and not Path(where).exists() else (Path(where), "")


def _object(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        found = json.loads(data[:MAX_BYTES]) if len(data) <= MAX_BYTES else None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path}: is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise CommandError(f"{path}: holds no profile: a JSON object of at most {MAX_BYTES} bytes")
    return found


def _of_version(
    found: Mapping[str, Any], version: str, path: Path
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    from pydantic import ValidationError  # noqa: PLC0415  (slow to load, and needed here alone)

    from eunomia_api.seccomp import SeccompProfile  # noqa: PLC0415

    try:
        told = SeccompProfile.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise CommandError(f"{path}: {field}: {first['msg']}") from None
    history = {each.version: each for each in told.status.history}
    known = history.get(version or told.spec.version)
    if known is None and version:
        there = ", ".join(history) or "none"
        raise CommandError(f"{path}: there is no version {version}; there are: {there}")
    if known is None and told.spec.base_profile_name and not told.spec.base_syscalls:
        raise CommandError(
            f"{path}: what its base {told.spec.base_profile_name} allows is not in the file: apply "
            "it, then take what kubectl get -o json gives"
        )
    said = known or told.spec
    content = profile(
        {*said.syscalls, *said.base_syscalls},
        said.architectures or told.spec.architectures,
        base=(said.base or told.spec.base).value,
        default_action=told.spec.default_action,
    )
    made_of = said.provenance
    return content, made_of.model_dump(by_alias=True) if made_of and made_of.runs else None


def checked(where: str) -> Mapping[str, Any]:
    """Return the profile in a file, which libseccomp takes. Raises AgentError."""
    found = read(where)
    try:
        compile_profile(found)
    except ProfileInvalid as error:
        raise CommandError(f"{where}: {error}") from None
    return found


def basis(base: str) -> Basis:
    """Return what is allowed beside what was recorded: None, RuntimeDefault, or a profile's file.

    Raises AgentError.
    """
    if base in ("None", "RuntimeDefault"):
        return Basis(base)
    found = checked(base)
    if found["defaultAction"] in LETS_PASS:
        raise CommandError(f"--base {base}: it lets pass whatever it does not name, and is no base")
    listed: list[Any] = found.get("syscalls") or []
    rules = [each for each in listed if each["action"] in LETS_PASS]
    plain = [each for each in rules if not each.get("args")]
    names = frozenset(name for each in plain for name in each["names"])
    return Basis(calls=names, rules=tuple(_bare(each) for each in rules if each.get("args")))


def _bare(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"names": rule["names"], "action": ALLOW, "args": rule["args"]}


def allowed(found: Mapping[str, Any]) -> frozenset[str]:
    """Return the calls that a profile lets pass, with some arguments at least."""
    if found["defaultAction"] not in LETS_PASS:
        return allowed_names(found)
    every = frozenset(calls.OWN.values()) | frozenset(calls.COMPAT.values())
    rules: list[Any] = found.get("syscalls") or []
    whole = (each["names"] for each in rules if not each.get("args"))
    return every.difference(*whole) | allowed_names(found)


def borne(found: Mapping[str, Any]) -> frozenset[str]:
    """Return these, and those that it answers as if the kernel did not have them."""
    return allowed(found) | borne_names(found)
