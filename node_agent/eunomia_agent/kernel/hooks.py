# SPDX-License-Identifier: Apache-2.0
"""Whether this kernel has the hook that a section of an object names. Probed, never by version."""

import os
from pathlib import Path

from eunomia_agent.kernel import features

TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
TYPES = Path("/sys/kernel/btf/vmlinux")
NEEDS = {
    "tracepoint": "tracepoint",
    "tp": "tracepoint",
    "tp_btf": "tp_btf",
    "raw_tp": "raw_tracepoint",
    "raw_tracepoint": "raw_tracepoint",
    "kprobe": "kprobe",
    "kretprobe": "kprobe",
    "ksyscall": "kprobe",
    "fentry": "fentry",
    "fexit": "fentry",
    "fmod_ret": "fentry",
    "lsm": "lsm",
    "iter": "iterator",
    "uprobe": "uprobe",
    "uretprobe": "uprobe",
    "perf_event": "perf_event",
}
"""First part of a section's name → the feature that it needs."""
TYPE = {
    "tp_btf": ("btf_trace_{}", "tracepoint"),
    "fentry": ("{}", "function"),
    "lsm": ("bpf_lsm_{}", "security hook"),
    "iterator": ("bpf_iter__{}", "iterator over"),
}
"""The name that the kernel's BTF has where it has a feature's target, and what the target is."""


def missing(section: str) -> str | None:
    """Return why the hook of a section is not to be had here, or None when it is."""
    kind, _, target = section.partition("/")
    feature = NEEDS.get(kind)
    if feature is None:
        return f"hooks of the kind {kind!r} are not known here"
    # Every object is fitted to this kernel by its types.
    reason = features.lacking("btf") or features.lacking(feature)
    if reason is not None:
        return reason
    if feature == "tracepoint":
        return _tracepoint(target)
    if feature in TYPE and not has_type(TYPE[feature][0].format(target)):
        return f"the kernel has no {TYPE[feature][1]} {target}"
    return None


def _tracepoint(target: str) -> str | None:
    for root in TRACEFS:
        if os.path.isdir(root / "events"):  # False as well where it may not be looked at
            found = os.path.isdir(root / "events" / target)
            return None if found else f"the kernel has no tracepoint {target}"
    return "tracefs cannot be read at /sys/kernel/tracing"


def has_type(name: str, types: Path = TYPES) -> bool:
    """Return whether the kernel's BTF has this name. Reads 5 to 10 MB, in a few milliseconds."""
    try:
        return f"\0{name}\0".encode() in types.read_bytes()
    except OSError:
        return False
