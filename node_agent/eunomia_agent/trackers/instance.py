# SPDX-License-Identifier: Apache-2.0
"""One running tracker: its programs in the kernel, its maps, and the rows that it gives."""

import logging
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import PAGESIZE
from pathlib import Path
from typing import Self

from eunomia_agent.errors import NoMemoryLeft, TrackerUnsupported
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.events.tally import TABLES, Tally, tally_layouts
from eunomia_agent.kernel.errors import HookMissing, KernelError
from eunomia_agent.kernel.map import Map, possible_cpus
from eunomia_agent.kernel.object import Object
from eunomia_agent.kernel.rcu import wait_for_programs
from eunomia_agent.slots import SLOTS
from eunomia_agent.trackers.accounting import Account
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.limit import Limit
from eunomia_agent.trackers.memory import plan
from eunomia_agent.trackers.processes import descendants
from eunomia_agent.trackers.variable import variable_name

logger = logging.getLogger("eunomia.trackers")

# struct account_key, struct account and struct instance of bpf/include/events.h
ACCOUNT_KEY = struct.Struct("=QII")
ACCOUNT = struct.Struct("=5Q")
INSTANCE = struct.Struct(f"=2Q{3 * SLOTS}Q")
ZERO = bytes(4)


FOLLOW_FORK = "follow_fork"
"""The program of match.h that is needed only to follow the children of processes."""


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two uses of a tracker the same.

    params: all of them. memory_bytes: for its results, the reader's part included. conditions:
    variables of match.h with what they hold, as it lies in memory. pids: of the only processes
    that are watched; empty for all. children: watch what they start, too. interval_ms: between two
    readings of what is counted in the kernel; 0 for a tracker that counts nothing there.
    """

    tracker: str
    params: tuple[tuple[str, bool | int | str], ...]
    memory_bytes: int
    conditions: tuple[tuple[str, bytes], ...] = ()
    pids: tuple[int, ...] = ()
    children: bool = False
    interval_ms: int = 0


class Instance:
    """A loaded tracker. The jobs that share it are told apart by their slots."""

    def __init__(
        self, key: Key, loaded: Object, memory_bytes: int, root: Path | None = None
    ) -> None:
        self.key = key
        self._root = root
        self._failure: str | None = None
        self.memory_bytes = memory_bytes
        self.open = True
        self.attached = False
        self._object = loaded
        self._instance = loaded.map("instance")
        self._accounts = loaded.map("accounts")
        self._unclassified = loaded.map("unclassified")
        self._drain: Drain | None = None
        if "events" in loaded.maps:
            self._drain = Drain(loaded.map("events"), event_layout(loaded.btf))
        layouts = tally_layouts(loaded.btf)
        self._tallies = [Tally(loaded.map(table), layout) for table, layout in layouts.items()]
        self._epoch = 0
        self._read_at = time.monotonic()
        self.interval = 0.0
        """Seconds that the rows stand for that were taken last."""
        self._limits: dict[int, Limit] = {}
        self._everywhere: set[int] = set()

    @classmethod
    def load(
        cls,
        folder: Path,
        tracker: Tracker,
        key: Key,
        targets: Map,
        *,
        hierarchy: int = 0,
        root: Path | None = None,
        available: int = 1 << 62,
    ) -> Self:
        """Load a tracker's programs, attached to nothing yet.

        targets: the agent-wide map of watched cgroups. hierarchy: the number of the one that ids
        are of, 0 for v2; root: where it is mounted, None for this process's own part of it.
        available: bytes that all of its maps may take up.
        Raises KernelError, TrackerUnsupported, NoMemoryLeft.
        """
        began = time.monotonic()
        loaded = Object.open(folder / f"{key.tracker}.bpf.o")
        try:
            _configure(loaded, tracker, key, hierarchy)
            _choose_programs(loaded, tracker, key)
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
                    f"{key.tracker} would take up {sizes.total} bytes of kernel and buffer memory,"
                    f" and {max(0, available)} are left of what this node's jobs may take up"
                    " (EUNOMIA_MEMORY_BYTES); lower spec.budget.memoryBytesPerNode"
                )
            for name, entries in sizes.entries.items():
                loaded.map(name).resize(entries)
            if not key.pids:
                loaded.map("pids").resize(1)
            loaded.map("targets").reuse(targets)
            loaded.load()
            instance = cls(key, loaded, sizes.total, root)
        except BaseException:
            loaded.close()
            raise
        logger.info("loaded %s in %.0f ms", key.tracker, (time.monotonic() - began) * 1000)
        return instance

    @property
    def problem(self) -> str | None:
        """What is wrong with it; None when nothing is."""
        malformed = self._drain.malformed if self._drain else 0
        return f"{malformed} records could not be read" if malformed else self._failure

    @property
    def tracker(self) -> str:
        """Name of the tracker."""
        return self.key.tracker

    def attach(self) -> None:
        """Attach all programs. Raises KernelError."""
        began = time.monotonic()
        self._object.attach()
        self.attached = True
        self._watch_processes()
        self._walk()
        logger.info("attached %s in %.0f ms", self.tracker, (time.monotonic() - began) * 1000)

    def _watch_processes(self) -> None:
        """Put the wanted processes into `pids`: those they start are seen from now on.

        Twice, so that one that was started during the first look is found by the second.
        """
        pids = self._object.map("pids")
        for _ in range(2 if self.key.children else 1):
            wanted = descendants(self.key.pids) if self.key.children else self.key.pids
            for pid in wanted:
                pids.update(struct.pack("=I", pid), b"\1")

    def detach(self) -> None:
        """Detach all programs; they and the maps stay loaded."""
        self._object.detach()
        self.attached = False

    def retire(self) -> Callable[[], None]:
        """Use it no more. Returns what takes programs and maps out of the kernel, on any thread."""
        self.open = self.attached = False

        def close() -> None:
            if self._drain:
                self._drain.close()
            self._object.close()

        return close

    # The jobs that share it

    def join(self, slot: int, limit: Limit, *, everywhere: bool = False) -> None:
        """Let a job's events pass, at most at a rate for each cgroup.

        everywhere: those of every cgroup of the node, target or not.
        """
        if self._limits.get(slot) != limit or everywhere != (slot in self._everywhere):
            self._limits[slot] = limit
            if everywhere:
                self._everywhere.add(slot)
            self._write_jobs()

    def leave(self, slot: int) -> None:
        """Let a job's events pass no more."""
        if self._limits.pop(slot, None) is not None:
            self._everywhere.discard(slot)
            self._write_jobs()

    def _write_jobs(self) -> None:
        jobs = sum(1 << slot for slot in self._limits)
        everywhere = sum(1 << slot for slot in self._everywhere)
        numbers = [0] * (3 * SLOTS)
        for slot, limit in self._limits.items():
            numbers[3 * slot : 3 * slot + 3] = limit.period_ns, limit.burst_ns, limit.sample
        self._instance.update(ZERO, INSTANCE.pack(jobs, everywhere, *numbers))

    # Accounts

    def accounts(self) -> dict[int, dict[int, Account]]:
        """Return the kernel's accounts, by job slot and cgroup id."""
        accounts: dict[int, dict[int, Account]] = defaultdict(dict)
        for cgroup, slot, account in self._read_accounts():
            accounts[slot][cgroup] = account
        return accounts

    def account(self, slot: int, cgroup_id: int) -> Account | None:
        """Return the kernel's account of one job in one cgroup."""
        value = self._accounts.lookup(ACCOUNT_KEY.pack(cgroup_id, slot, 0))
        return None if value is None else Account(*ACCOUNT.unpack(value)[1:])

    def remove(self, slot: int, cgroup_id: int) -> None:
        """Drop one account."""
        self._accounts.delete(ACCOUNT_KEY.pack(cgroup_id, slot, 0))

    def clear(self, slot: int) -> None:
        """Drop all accounts of a job."""
        for cgroup, owner, _ in list(self._read_accounts()):
            if owner == slot:
                self.remove(slot, cgroup)

    def unclassified(self) -> int:
        """Return the number of events that no job's account holds, since the tracker began."""
        value = self._unclassified.lookup(ZERO) or b""
        counts: tuple[int, ...] = struct.unpack(f"={len(value) // 8}Q", value)
        return sum(counts) + self._object.misses()

    def _read_accounts(self) -> Iterator[tuple[int, int, Account]]:
        keys, values = self._accounts.snapshot()
        for (cgroup, slot, _), value in zip(
            ACCOUNT_KEY.iter_unpack(keys), ACCOUNT.iter_unpack(values), strict=True
        ):
            yield cgroup, slot, Account(*value[1:])

    # Rows

    @property
    def has_events(self) -> bool:
        """Whether it has a ring to watch."""
        return self._drain is not None

    def fileno(self) -> int:
        """Return a descriptor that is readable when rows wait. Only where it has events."""
        assert self._drain is not None
        return self._drain.fileno()

    def woken(self) -> float:
        """Answer a readable descriptor. Returns how long the rows may wait, in seconds."""
        assert self._drain is not None
        return self._drain.woken()

    def drain(self) -> Iterator[Batch]:
        """Give what stood in the ring when this was called, in batches.

        More may come while it is read: a ring's worth at most is given, so that a busy tracker
        does not keep others waiting.
        """
        size = 0
        while self._drain is not None and size <= self.key.memory_bytes:
            rows = self._drain.drain()
            if len(rows):
                yield rows
            size += rows.nbytes
            if not self._drain.more:
                return

    # Tables

    @property
    def due(self) -> float | None:
        """When the tables are to be read next, on the monotonic clock; None without tables."""
        return self._read_at + self.key.interval_ms / 1000 if self._tallies else None

    def take(self) -> Iterator[Batch]:
        """Begin a new interval, and give the rows of the one that is over."""
        if not self._tallies:
            return
        if self.attached:
            self._walk()
        self._epoch = (self._epoch + 1) % 2**32
        self._object.map("epoch").update(ZERO, struct.pack("=I", self._epoch))
        wait_for_programs()
        now = time.monotonic()
        self.interval, self._read_at = round(now - self._read_at, 3), now
        for tally in self._tallies:
            rows = tally.take({self._epoch}, _boot_time_ns(), self._jobs)
            if len(rows):
                yield rows

    def _walk(self) -> None:
        """Let programs look at what is there now: see Object.run_iterators."""
        try:
            self._object.run_iterators(self._root)
        except KernelError as error:
            self._failure = str(error)
        else:
            self._failure = None

    def take_cgroups(self, cgroups: set[int]) -> Iterator[Batch]:
        """Give the rows of cgroups that are gone, before their interval is over."""
        self.interval = round(time.monotonic() - self._read_at, 3)
        for tally in self._tallies:
            rows = tally.take_cgroups(cgroups, _boot_time_ns(), self._jobs)
            if len(rows):
                yield rows

    @property
    def _jobs(self) -> int:
        return sum(1 << slot for slot in self._limits)


def _boot_time_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _configure(loaded: Object, tracker: Tracker, key: Key, hierarchy: int) -> None:
    for name, value in key.params:
        loaded.set(variable_name(name, tracker.params[name].variable), value)
    for variable, content in key.conditions:
        loaded.set(variable, content)
    loaded.set("by_pid", bool(key.pids))
    loaded.set("follow_children", key.children)
    if hierarchy:
        loaded.set("cgroup_hierarchy", hierarchy)


def _choose_programs(loaded: Object, tracker: Tracker, key: Key) -> None:
    """Switch off what is not asked for, or not to be had. Raises TrackerUnsupported."""
    values = dict(key.params)
    off = {
        section
        for section, switches in tracker.programs.items()
        if not any(values[name] for name in switches)
    }
    alternatives = {section for group in tracker.any_of for section in group}
    for program in loaded.programs.values():
        if program.section in off or (program.name == FOLLOW_FORK and not key.children):
            program.autoload = False
    try:
        missing = loaded.skip_missing([hook for hook in tracker.hooks if hook not in off])
    except HookMissing as error:
        raise TrackerUnsupported(f"{key.tracker}: {error}") from error
    chosen = next((g for g in tracker.any_of if not missing.keys() & set(g)), None)
    if tracker.any_of and chosen is None:
        reasons = "; ".join(
            f"{section}: {missing[section]}" for section in alternatives & missing.keys()
        )
        raise TrackerUnsupported(f"{key.tracker} cannot run here: {reasons}")
    for program in loaded.programs.values():
        if program.section in alternatives - set(chosen or ()):
            program.autoload = False
