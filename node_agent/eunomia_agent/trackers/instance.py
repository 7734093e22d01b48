# SPDX-License-Identifier: Apache-2.0
"""One running tracker: its programs in the kernel, its maps, and the rows that it gives."""

import logging
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eunomia_agent.errors import TrackerUnsupported
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.drain import Drain
from eunomia_agent.events.layout import event_layout
from eunomia_agent.kernel.errors import HookMissing
from eunomia_agent.kernel.map import Map
from eunomia_agent.kernel.object import Object
from eunomia_agent.slots import SLOTS
from eunomia_agent.trackers.accounting import Account
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.limit import Limit
from eunomia_agent.trackers.variable import variable_name

logger = logging.getLogger("eunomia.trackers")

# struct account_key, struct account and struct instance of bpf/include/events.h
ACCOUNT_KEY = struct.Struct("=QII")
ACCOUNT = struct.Struct("=5Q")
INSTANCE = struct.Struct(f"=2Q{3 * SLOTS}Q")
ZERO = bytes(4)


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two uses of a tracker the same: name, all params, size of the ring in bytes."""

    tracker: str
    params: tuple[tuple[str, bool | int | str], ...]
    ring_bytes: int


class Instance:
    """A loaded tracker. The jobs that share it are told apart by their slots."""

    def __init__(self, key: Key, loaded: Object) -> None:
        self.key = key
        self.open = True
        self.attached = False
        self._object = loaded
        self._instance = loaded.map("instance")
        self._accounts = loaded.map("accounts")
        self._unclassified = loaded.map("unclassified")
        self._drain = Drain(loaded.map("events"), event_layout(loaded.btf))
        self._limits: dict[int, Limit] = {}
        self._everywhere: set[int] = set()

    @classmethod
    def load(cls, folder: Path, tracker: Tracker, key: Key, targets: Map) -> Self:
        """Load a tracker's programs, attached to nothing yet.

        targets: the agent-wide map of watched cgroups. Raises KernelError, TrackerUnsupported.
        """
        began = time.monotonic()
        loaded = Object.open(folder / f"{key.tracker}.bpf.o")
        try:
            for name, value in key.params:
                loaded.set(variable_name(name, tracker.params[name].variable), value)
            loaded.map("targets").reuse(targets)
            loaded.map("events").resize(key.ring_bytes)
            loaded.skip_missing(tracker.hooks)
            loaded.load()
            instance = cls(key, loaded)
        except HookMissing as error:
            loaded.close()
            raise TrackerUnsupported(f"{key.tracker}: {error}") from error
        except BaseException:
            loaded.close()
            raise
        logger.info("loaded %s in %.0f ms", key.tracker, (time.monotonic() - began) * 1000)
        return instance

    @property
    def problem(self) -> str | None:
        """What is wrong with it; None when nothing is."""
        malformed = self._drain.malformed
        return f"{malformed} records could not be read" if malformed else None

    @property
    def tracker(self) -> str:
        """Name of the tracker."""
        return self.key.tracker

    def attach(self) -> None:
        """Attach all programs. Raises KernelError."""
        began = time.monotonic()
        self._object.attach()
        self.attached = True
        logger.info("attached %s in %.0f ms", self.tracker, (time.monotonic() - began) * 1000)

    def detach(self) -> None:
        """Detach all programs; they and the maps stay loaded."""
        self._object.detach()
        self.attached = False

    def retire(self) -> Callable[[], None]:
        """Use it no more. Returns what takes programs and maps out of the kernel, on any thread."""
        self.open = self.attached = False

        def close() -> None:
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

    def fileno(self) -> int:
        """Return a descriptor that is readable when rows wait."""
        return self._drain.fileno()

    def woken(self) -> float:
        """Answer a readable descriptor. Returns how long the rows may wait, in seconds."""
        return self._drain.woken()

    def drain(self) -> Iterator[Batch]:
        """Give what stood in the ring when this was called, in batches.

        More may come while it is read: a ring's worth at most is given, so that a busy tracker
        does not keep others waiting.
        """
        size = 0
        while size <= self.key.ring_bytes:
            rows = self._drain.drain()
            if len(rows):
                yield rows
            size += rows.nbytes
            if not self._drain.more:
                return
