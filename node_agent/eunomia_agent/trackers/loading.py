# SPDX-License-Identifier: Apache-2.0
"""From a compiled tracker to its programs and maps in the kernel, attached to nothing yet."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from mmap import PAGESIZE
from pathlib import Path

from eunomia_agent.errors import NoMemoryLeft, TrackerUnsupported
from eunomia_agent.events.tally import TABLES
from eunomia_agent.kernel.chain import Chain
from eunomia_agent.kernel.errors import HookMissing
from eunomia_agent.kernel.map import Map, possible_cpus
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers import denying
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.key import Enforcement, Key
from eunomia_agent.trackers.memory import Plan, plan
from eunomia_agent.trackers.paths import CONDITION
from eunomia_agent.trackers.processes import cgroup_of
from eunomia_agent.trackers.variable import variable_name

FOLLOWING = frozenset({"follow_fork", "forget_process"})
"""The programs of match.h that are needed only to follow the children of processes."""
REFUSED = "refused_calls"
"""The map of refused.h, of trackers that can refuse."""
PROCESSES = ("pids", "ended_pids")
"""The maps of match.h that are needed only to watch certain processes."""


@dataclass(frozen=True, slots=True)
class Node:
    """What all trackers of a node share.

    targets: the map of watched cgroups. hierarchy: the number of the one that their ids are of, 0
    for v2; root: where it is mounted, None for this process's own part of it. chain: None: each
    program is attached by itself. runtimes: the map of a runtime's processes; None: nobody is one.
    refused: the map of calls that were refused; None: each tracker knows of its own alone.
    """

    targets: Map
    hierarchy: int = 0
    root: Path | None = None
    chain: Chain | None = None
    runtimes: Map | None = None
    refused: Map | None = None


def load(
    folder: Path, tracker: Tracker, key: Key, node: Node, available: int
) -> tuple[Object, int]:
    """Load a tracker; return it, and the bytes that all of its maps take up.

    folder: of the compiled objects. available: bytes that they may take up.
    Raises KernelError, TrackerUnsupported, NoMemoryLeft.
    """
    loaded = Object.open(folder / f"{key.tracker}.bpf.o")
    try:
        _configure(loaded, tracker, key, node)
        _choose_programs(loaded, tracker, key)
        for name, entries in _filled(loaded, key).items():
            loaded.map(name).resize(max(1, entries))
        for name in () if key.pids else PROCESSES:
            loaded.map(name).resize(1)
        sizes = _sizes(loaded, key, available)
        for name, entries in sizes.entries.items():
            loaded.map(name).resize(entries)
        loaded.map("targets").reuse(node.targets)
        if node.runtimes is not None and "runtimes" in loaded.maps:
            loaded.map("runtimes").reuse(node.runtimes)
        if node.refused is not None and REFUSED in loaded.maps:
            loaded.map(REFUSED).reuse(node.refused)
        if node.chain is not None:
            node.chain.share(loaded)
        loaded.load()
        _fill(loaded, key)
    except BaseException:
        loaded.close()
        raise
    return loaded, sizes.total


def _sizes(loaded: Object, key: Key, available: int) -> Plan:
    sizes = plan(
        key.tracker,
        loaded.maps,
        key.memory_bytes,
        unused={name for name, value in key.params if name in TABLES and value is False},
        page_bytes=PAGESIZE,
        cpus=possible_cpus(),
    )
    if sizes.total > available:
        raise NoMemoryLeft(
            f"{key.tracker} would take up {sizes.total} bytes of kernel and buffer memory, and"
            f" {max(0, available)} are left of what this node's jobs may take up"
            " (EUNOMIA_MEMORY_BYTES); lower spec.budget.memoryBytesPerNode"
        )
    return sizes


def _configure(loaded: Object, tracker: Tracker, key: Key, node: Node) -> None:
    for name, value in key.params:
        loaded.set(variable_name(name, tracker.params[name].variable), value)
    for variable, content in key.conditions:
        if variable not in loaded.maps:
            loaded.set(variable, content)
    loaded.set("by_pid", bool(key.pids))
    loaded.set("follow_children", key.children)
    if node.hierarchy:
        loaded.set("cgroup_hierarchy", node.hierarchy)
    if key.enforcement:
        loaded.set("enforcement", int(key.enforcement))
        loaded.set("own_cgroup", cgroup_of(os.getpid(), node.root))


def _filled(loaded: Object, key: Key) -> dict[str, int]:
    """Return the maps that conditions on paths fill, with the number of entries of each."""
    contents = dict(key.conditions)
    return {
        name: len(contents.get(name, b"")) // (found.key_size + found.value_size)
        for name, found in loaded.maps.items()
        if name.startswith(CONDITION)
    }


def _fill(loaded: Object, key: Key) -> None:
    """Put what conditions on paths ask for into their maps: entries, behind one another."""
    for name, content in key.conditions:
        if name in loaded.maps:
            into = loaded.maps[name]
            size = into.key_size + into.value_size
            for start in range(0, len(content), size):
                entry = content[start : start + size]
                into.update(entry[: into.key_size], entry[into.key_size :])


def _choose_programs(loaded: Object, tracker: Tracker, key: Key) -> None:
    """Switch off what is not asked for, or not to be had. Raises TrackerUnsupported."""
    values = dict(key.params)
    off = {
        section
        for section, switches in tracker.programs.items()
        if not any(values[name] for name in switches)
    }
    denies = key.enforcement == Enforcement.DENY
    off |= denying.telling(tracker) if denies else tracker.denies.keys()
    for program in loaded.programs.values():
        if program.section in off or (program.name in FOLLOWING and not key.children):
            program.autoload = False
    unused = _not_refusing(loaded, tracker, key) if denies else _not_telling(loaded, tracker, off)
    for program in loaded.programs.values():
        if program.section in unused:
            program.autoload = False


def _not_refusing(loaded: Object, tracker: Tracker, key: Key) -> Collection[str]:
    """Return the sections of programs that refuse what this key is not about."""
    missing = loaded.skip_missing()
    return tracker.denies.keys() - denying.chosen(tracker, key, loaded.btf, missing)


def _not_telling(loaded: Object, tracker: Tracker, off: Collection[str]) -> Collection[str]:
    """Return the sections that others do the work of, of those that tell of what was done."""
    alternatives = {section for group in tracker.any_of for section in group}
    try:
        missing = loaded.skip_missing([hook for hook in tracker.hooks if hook not in off])
    except HookMissing as error:
        raise TrackerUnsupported(f"{tracker.name}: {error}") from error
    chosen = next((g for g in tracker.any_of if not missing.keys() & set(g)), None)
    if tracker.any_of and chosen is None:
        reasons = "; ".join(
            f"{section}: {missing[section]}" for section in alternatives & missing.keys()
        )
        raise TrackerUnsupported(f"{tracker.name} cannot run here: {reasons}")
    return alternatives - set(chosen or ())
