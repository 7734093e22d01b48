# SPDX-License-Identifier: Apache-2.0
"""`eunomia doctor`: what this machine can run, and what to install or grant for the rest."""

import json
import os
import platform
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from eunomia_agent.cli.catalogue import CORE, catalogue
from eunomia_agent.cli.machine import TYPES, ungranted
from eunomia_agent.cli.runtime import CRI, listening
from eunomia_agent.containers import hierarchy
from eunomia_agent.kernel import features
from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.libbpf import library
from eunomia_agent.trackers.support import lacks

ARCHITECTURES = ("x86_64", "aarch64")
OPTIONAL = ("tracepoint", "kprobe", "fentry", "lsm", "uprobe", "perf_event")
"""Kinds of hooks that core trackers can do without."""
FOR = {"lsm": "needed only for rules of policies with the response Deny"}
"""What some of them are for."""

State = Literal["ok", "missing", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. state: note where nothing needs it. advice: what to do."""

    what: str
    state: State
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at all of it."""
    machine = list(_machine())
    lacking = [each.what for each in machine if each.state == "missing"]
    if not lacking:
        return [*machine, *_kernel(), *_hooks(), *_containers(), *_trackers()]
    told = f"cannot be told without {' and '.join(lacking)}"
    return [*machine, *_kernel(), *_containers(), Finding("trackers", "missing", told)]


def is_fit(findings: list[Finding]) -> bool:
    """Tell whether all core trackers can run."""
    return all(finding.state != "missing" for finding in findings)


def as_json(findings: list[Finding]) -> str:
    """Return findings as a JSON object."""
    return json.dumps(
        {"fit": is_fit(findings), "findings": [asdict(each) for each in findings]}, indent=2
    )


def as_text(findings: list[Finding]) -> str:
    """Return a line for each finding, with what to do below those where something is missing."""
    width = max(len(each.what) for each in findings)
    room = max(40, shutil.get_terminal_size().columns) - width - 11
    lines: list[str] = []
    for each in findings:
        told = textwrap.wrap(each.found, room) or [""]
        if each.advice:
            told += textwrap.wrap(f"-> {each.advice}", room, subsequent_indent="   ")
        lines.append(f"{each.state:<7}  {each.what:<{width}}  {told[0]}")
        lines += [" " * (width + 11) + more for more in told[1:]]
    lines.append("")
    lines.append(
        "All core trackers can run here."
        if is_fit(findings)
        else "Not all core trackers can run here: see what is missing above."
    )
    return "\n".join(lines)


def _machine() -> Iterator[Finding]:
    machine = platform.machine()
    known = machine in ARCHITECTURES
    advice = "" if known else f"the trackers are compiled for {' and '.join(ARCHITECTURES)} alone"
    yield Finding("architecture", "ok" if known else "missing", machine, advice)
    yield Finding("kernel", "ok", os.uname().release)
    try:
        library()
    except KernelError as error:
        reason, _, advice = str(error).partition("; ")
        yield Finding("libbpf", "missing", reason, advice)
    else:
        yield Finding("libbpf", "ok", "libbpf.so.1 is installed")
    missing = ungranted()
    if missing:
        advice = "run it as root, or grant them: in a container, with securityContext.capabilities"
        yield Finding("capabilities", "missing", f"without {' and '.join(missing)}", advice)
    else:
        yield Finding("capabilities", "ok", "BPF programs may be loaded")


def _kernel() -> Iterator[Finding]:
    if TYPES.exists():
        yield Finding("BTF", "ok", f"the kernel tells its types at {TYPES}")
    else:
        advice = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of distributions are"
        yield Finding("BTF", "missing", f"there is no {TYPES}", advice)


def _hooks() -> Iterator[Finding]:
    try:
        offered = features.probe()
    except KernelError as error:
        yield Finding("hooks", "missing", f"could not be tried: {error}")
        return
    needed = [name for name in offered.missing if name not in OPTIONAL and name != "btf"]
    yield Finding("hooks", "ok", f"the kernel takes {', '.join(sorted(offered.names - {'btf'}))}")
    for name in sorted(offered.missing.keys() - {"btf"}):
        state: State = "missing" if name in needed else "note"
        yield Finding(name, state, offered.missing[name], FOR.get(name, ""))


def _containers() -> Iterator[Finding]:
    try:
        found = hierarchy.here()
    except OSError as error:
        yield Finding("cgroups", "missing", f"cannot be read: {error}")
        return
    if found.root is None:
        advice = (
            "mount -t cgroup2 none /sys/fs/cgroup, or boot with systemd.unified_cgroup_hierarchy"
        )
        yield Finding("cgroups", "missing", "neither v2 nor v1's pids are mounted", advice)
    elif found.number:
        yield Finding("cgroups", "ok", f"v1 alone: that of pids, at {found.root}")
    else:
        yield Finding("cgroups", "ok", f"v2 at {found.root}")
    runtimes = listening()
    if runtimes:
        yield Finding("containers", "ok", f"runtimes at {', '.join(map(str, runtimes))}")
    else:
        advice = (
            "needed only to know containers by name: containerd, CRI-O, Docker or Podman, "
            f"elsewhere than in its usual place with {CRI}=PATH"
        )
        yield Finding("containers", "note", "no container runtime listens", advice)


def _trackers() -> Iterator[Finding]:
    for name, tracker in catalogue().trackers.items():
        try:
            missing = lacks(tracker)
        except KernelError as error:
            missing = str(error)
        is_core = name in CORE
        state: State = "ok" if not missing else "missing" if is_core else "note"
        kind = "core tracker" if is_core else "tracker"
        yield Finding(f"{kind} {name}", state, missing or "can run")
