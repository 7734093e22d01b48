# SPDX-License-Identifier: Apache-2.0
"""What a container may do, as its runtime tells: its seccomp filter and its capabilities. Pure.

The `info` of a verbose ContainerStatus is JSON of the runtime's own making. Both containerd
(internal/cri/server/container_status.go) and CRI-O (server/container_status.go) show the
specification that they gave to runc, as `runtimeSpec`. Where the filter in it came from, containerd
tells in `config`, the kubelet's request, and CRI-O in an annotation; whether it was asked for as
privileged, containerd tells there, too, and CRI-O as `privileged`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_RUNTIME_DEFAULT, _LOCALHOST = 0, 2
"""SecurityProfile.ProfileType of the CRI; Go leaves a 0 out of JSON."""
_CRIO = "io.kubernetes.cri-o.SeccompProfilePath"
_FILE = re.compile(r"(?:/.*?)?/seccomp/(.{1,242})")
_OURS = re.compile(r"(?:/.*)?/seccomp/(eunomia/[^/]+/[^/]+\.json)")
"""Below the kubelet's folder, of whose path only the end is sure."""
_CAPABILITY = re.compile(r"CAP_[A-Z0-9_]{1,59}")

UNCONFINED, RUNTIME_DEFAULT = "Unconfined", "RuntimeDefault"
NAMELESS = "Filtered"
"""A filter is on, and nobody tells which."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a container may do.

    profile: path of its seccomp profile below the kubelet's folder, where it is one of Eunomia's;
    "": no filter is on, or another one. base: the filter's name: Unconfined, RuntimeDefault,
    Localhost/PATH below the kubelet's folder, or Filtered: nobody tells.
    capabilities: its bounding set, beyond which it can never come; None: not told. privileged:
    whether it was asked for so, and keeps all capabilities whatever else is asked; None: not told.
    """

    profile: str = ""
    base: str = NAMELESS
    capabilities: frozenset[str] | None = None
    privileged: bool | None = None

    def saved(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        names = self.capabilities
        return asdict(self) | {"capabilities": None if names is None else sorted(names)}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Confinement":
        """Return what was saved. Raises KeyError, TypeError."""
        names, privileged = saved["capabilities"], saved["privileged"]
        return cls(
            str(saved["profile"]),
            str(saved["base"]),
            None if names is None else frozenset(map(str, names)),
            None if privileged is None else bool(privileged),
        )


def confinement_in(info: str) -> Confinement | None:
    """Read what a runtime told. None: it cannot be read."""
    try:
        told = json.loads(info)
    except (ValueError, RecursionError):
        return None
    if not isinstance(_within(told, "runtimeSpec"), dict):
        return None
    profile, base = _seccomp(told)
    return Confinement(profile, base, _capabilities(told), _privileged(told))


def _seccomp(told: Any) -> tuple[str, str]:
    """Return the path of the profile, if it is one of ours, and the filter's name."""
    if not _within(told, "runtimeSpec", "linux", "seccomp"):
        return "", UNCONFINED  # as of a privileged container, whatever was asked for
    asked = _within(told, "config", "linux", "security_context", "seccomp")
    if asked is None:
        path = _within(told, "runtimeSpec", "annotations", _CRIO)
        default = path == RUNTIME_DEFAULT
    else:
        kind = _within(asked, "profile_type")
        path = _within(asked, "localhost_ref") if kind == _LOCALHOST else None
        default = kind in (None, _RUNTIME_DEFAULT)
    if default:
        return "", RUNTIME_DEFAULT
    if not isinstance(path, str):
        return "", NAMELESS
    ours, file = _OURS.fullmatch(path), _FILE.fullmatch(path)
    profile = ours[1] if ours else ""
    return profile, f"Localhost/{profile or file[1]}" if file else NAMELESS


def _capabilities(told: Any) -> frozenset[str] | None:
    given = _within(told, "runtimeSpec", "process", "capabilities")
    if not isinstance(given, dict):
        return None
    bounding: Any = given.get("bounding", [])  # Go leaves an empty list out
    if not isinstance(bounding, list):
        return None
    names: list[Any] = bounding
    return frozenset(
        name for name in names if isinstance(name, str) and _CAPABILITY.fullmatch(name)
    )


def _privileged(told: Any) -> bool | None:
    asked = _within(told, "config", "linux", "security_context")
    if isinstance(asked, dict):
        return bool(_within(asked, "privileged"))
    own = _within(told, "privileged")
    return own if isinstance(own, bool) else None


def _within(told: Any, *names: str) -> Any:
    for name in names:
        told = told.get(name) if isinstance(told, dict) else None
    return told
