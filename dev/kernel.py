# SPDX-License-Identifier: Apache-2.0
"""BPF objects in the kernel, as bpftool lists them (bpftool-prog(8)): what is left over?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dev.command import output

TRACING = frozenset(
    {
        "kprobe",
        "lsm",
        "perf_event",
        "raw_tracepoint",
        "raw_tracepoint_writable",
        "tracepoint",
        "tracing",
    }
)
"""Program types that trace. Others (cgroup_device, …) are loaded by runc and systemd."""


@dataclass(frozen=True, order=True)
class Object:
    """One program or map: `id` is never used twice until the next boot."""

    id: int
    kind: str
    name: str


def programs() -> frozenset[Object]:
    """Tracing programs that are in the kernel now. Needs root."""
    return frozenset(found for found in _objects("prog") if found.kind in TRACING)


def maps() -> frozenset[Object]:
    """Maps that are in the kernel now. Needs root."""
    return _objects("map")


def _objects(what: str) -> frozenset[Object]:
    return frozenset(
        Object(id=entry["id"], kind=entry["type"], name=entry.get("name", ""))
        for entry in json.loads(output(["bpftool", "--json", what, "list"]) or "[]")
        if not _foreign(entry)
    )


def _foreign(entry: dict[str, object]) -> bool:
    """Whether only processes outside of pods hold the object: tests of the machine's own, say.

    An object that nobody holds is pinned or attached for good, and counts.
    """
    holders = entry.get("pids")
    return (
        isinstance(holders, list)
        and bool(holders)
        and not any("kubepods" in _cgroups(holder["pid"]) for holder in holders)
    )


def _cgroups(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "kubepods, perhaps: it has just ended"
