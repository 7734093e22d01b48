# SPDX-License-Identifier: Apache-2.0
"""Tracing programs in the kernel, as bpftool lists them (bpftool-prog(8)): what is left over?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dev.command import output

KINDS = frozenset(
    {"kprobe", "lsm", "perf_event", "raw_tracepoint", "raw_tracepoint_writable", "tracepoint"}
    | {"tracing"}
)
"""Program types that trace. Others (cgroup_device, …) are loaded by runc and systemd."""


@dataclass(frozen=True, order=True)
class Program:
    """One loaded program: `id` is never used twice until the next boot."""

    id: int
    kind: str
    name: str


def loaded() -> frozenset[Program]:
    """Tracing programs that are in the kernel now. Needs root."""
    return frozenset(
        Program(id=entry["id"], kind=entry["type"], name=entry.get("name", ""))
        for entry in json.loads(output(["bpftool", "--json", "prog", "list"]) or "[]")
        if entry["type"] in KINDS and not _foreign(entry)
    )


def _foreign(entry: dict[str, object]) -> bool:
    """Whether only processes outside of pods hold the program: tests of the machine's own, say.

    A program that nobody holds is pinned or attached for good, and counts.
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
