# SPDX-License-Identifier: Apache-2.0
"""One running tracker: its programs in the kernel, its maps, and the rows that it gives."""

import logging
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from eunomia_agent.events.batch import Batch
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.events.tally import TABLES
from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.object import Object
from eunomia_agent.slots import SLOTS
from eunomia_agent.trackers.accounts import Accounts
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.limit import Limit
from eunomia_agent.trackers.loading import Node, load
from eunomia_agent.trackers.memory import HASHES
from eunomia_agent.trackers.paths import CONDITION
from eunomia_agent.trackers.processes import began_tick, descendants, tick_of
from eunomia_agent.trackers.tables import Tables

logger = logging.getLogger("eunomia.trackers")

INSTANCE = struct.Struct(f"=2Q{3 * SLOTS}Q")
"""struct instance of bpf/include/match.h"""
ZERO = bytes(4)
SLOT = struct.Struct("=I")
U64 = struct.Struct("=Q")
LASTING = frozenset({"targets", "accounts", "pids", *TABLES})
"""Hashes that stay true while nothing is attached, or that are seen to otherwise."""
ATTACHED_AT = "attached_at"
"""The map of syscall.h with the time since which calls were seen."""
BEGAN_UNKNOWN = bytes(8)
"""Of a process that was there before its children were followed."""


class Instance:
    """A loaded tracker. The jobs that share it are told apart by their slots."""

    def __init__(self, key: Key, loaded: Object, memory_bytes: int, node: Node) -> None:
        self.key = key
        self.memory_bytes = memory_bytes
        self.open = True
        self.attached = False
        self.accounts = Accounts(loaded)
        self._object = loaded
        self._node = node
        self._failure: str | None = None
        self._drain: Drain | None = None
        if "events" in loaded.maps:
            self._drain = Drain(loaded.map("events"), event_layout(loaded.btf))
        self._tables = Tables(loaded)
        self._began = {pid: began_tick(pid) for pid in key.pids}
        self._limits: dict[int, Limit] = {}
        self._everywhere: set[int] = set()

    @classmethod
    def load(
        cls, folder: Path, tracker: Tracker, key: Key, node: Node, available: int = 1 << 62
    ) -> Self:
        """Load a tracker's programs, attached to nothing yet: see loading.load."""
        began = time.monotonic()
        loaded, memory_bytes = load(folder, tracker, key, node, available)
        try:
            instance = cls(key, loaded, memory_bytes, node)
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

    @property
    def sections(self) -> list[str]:
        """The sections of the programs that are in the kernel: which hooks are used."""
        return [each.section for each in self._object.programs.values() if each.autoload]

    def attach(self) -> None:
        """Attach all programs. Raises KernelError."""
        began = time.monotonic()
        self._forget()
        chain, loaded = self._node.chain, self._object
        if chain is None:
            loaded.attach()
        else:
            loaded.attach(lambda program: chain.attach(loaded, program))
        self.attached = True
        self._watch_processes()
        self._walk()
        logger.info("attached %s in %.0f ms", self.tracker, (time.monotonic() - began) * 1000)

    def _forget(self) -> None:
        """Drop what programs noted before they were detached: nobody saw what became of it.

        Addresses of sockets and ids of processes may be those of others by now.
        """
        maps = self._object.maps
        for name, kept in maps.items():
            if kept.kind in HASHES and not (name in LASTING or name.startswith(CONDITION)):
                kept.delete_many(kept.snapshot()[0])
        if ATTACHED_AT in maps:
            maps[ATTACHED_AT].update(ZERO, struct.pack("=Q", time.monotonic_ns()))
        pids = maps["pids"]
        for entry, began in list(pids.items()):
            (pid,), (start,) = struct.unpack("=I", entry), struct.unpack("=Q", began)
            if began_tick(pid) != self._began.get(pid, tick_of(start)):
                pids.delete(entry)

    def _watch_processes(self) -> None:
        """Put the wanted processes into `pids`: those they start are seen from now on.

        Twice, so that one that was started during the first look is found by the second. A wanted
        process that has ended meanwhile is not taken for the next one of its id.
        """
        pids = self._object.map("pids")
        for _ in range(2 if self.key.children else 1):
            wanted = {pid for pid, tick in self._began.items() if tick and began_tick(pid) == tick}
            for pid in descendants(wanted) if self.key.children else wanted:
                pids.update(struct.pack("=I", pid), BEGAN_UNKNOWN)

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
        self._object.map("instance").update(ZERO, INSTANCE.pack(jobs, everywhere, *numbers))

    def enforce_until(self, slot: int, boot_ns: int) -> None:
        """Let a job kill or deny up to a time of CLOCK_BOOTTIME; 0: for as long as it runs."""
        self._object.map("enforce_until").update(SLOT.pack(slot), U64.pack(boot_ns))

    def enforced(self, slot: int) -> int:
        """Return how often a job killed or denied, since the slot was given out."""
        if not self.key.enforcement:
            return 0
        value = self._object.map("enforced").lookup(SLOT.pack(slot))
        return 0 if value is None else int(U64.unpack(value)[0])

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

    def hurry(self) -> None:
        """Let no row wait for others from now on: somebody has to hear of it soon."""
        if self._drain is not None:
            self._drain.hurry()

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
        return self._tables.read_at + self.key.interval_ms / 1000 if self._tables else None

    @property
    def interval(self) -> float:
        """Seconds that the rows of tables stand for that were given last."""
        return self._tables.interval

    def take(self) -> Iterator[Batch]:
        """Begin a new interval, and give the rows of the one that is over."""
        if self._tables:
            if self.attached:
                self._walk()
            yield from self._tables.take(self._jobs)

    def take_cgroups(self, cgroups: set[int]) -> Iterator[Batch]:
        """Give the rows of cgroups that are gone, before their interval is over."""
        return self._tables.take_cgroups(cgroups, self._jobs)

    def _walk(self) -> None:
        """Let programs look at what is there now: see Object.run_iterators."""
        try:
            self._object.run_iterators(self._node.root)
        except KernelError as error:
            self._failure = str(error)
        else:
            self._failure = None

    @property
    def _jobs(self) -> int:
        return sum(1 << slot for slot in self._limits)
