# SPDX-License-Identifier: Apache-2.0
"""Which seccomp profile a container runs under, as its runtime tells. Pure.

The `info` of a verbose ContainerStatus is JSON of the runtime's own making. Both containerd
(internal/cri/server/container_status.go) and CRI-O (server/container_status.go) show the
specification that they gave to runc, as `runtimeSpec`. Where the filter in it came from, containerd
tells in `config`, the kubelet's request, and CRI-O in an annotation.
"""

import json
import re
from typing import Any

_LOCALHOST = 2
"""SecurityProfile.ProfileType of the CRI."""
_CRIO = "io.kubernetes.cri-o.SeccompProfilePath"
_OURS = re.compile(r"(?:/.*)?/seccomp/(eunomia/[^/]+/[^/]+\.json)")
"""Below the kubelet's folder, of whose path only the end is sure."""


def profile_in(info: str) -> str | None:
    """Return the path of the profile below the kubelet's seccomp folder, if it is one of ours.

    "": no filter is on, or another one. None: it cannot be read.
    """
    try:
        told = json.loads(info)
    except (ValueError, RecursionError):
        return None
    spec = _within(told, "runtimeSpec")
    if not isinstance(spec, dict):
        return None
    if not _within(told, "runtimeSpec", "linux", "seccomp"):
        return ""  # as of a privileged container, whatever was asked for
    asked = _within(told, "config", "linux", "security_context", "seccomp")
    if asked is None:
        path = _within(told, "runtimeSpec", "annotations", _CRIO)
    else:
        is_file = _within(asked, "profile_type") == _LOCALHOST
        path = _within(asked, "localhost_ref") if is_file else ""
    found = _OURS.fullmatch(path) if isinstance(path, str) else None
    return found[1] if found else ""


def _within(told: Any, *names: str) -> Any:
    for name in names:
        told = told.get(name) if isinstance(told, dict) else None
    return told
