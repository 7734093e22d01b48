# SPDX-License-Identifier: Apache-2.0
"""The kernel's accounts of a running tracker: `accounts` and `unclassified` of match.h."""

import struct
from collections import defaultdict
from collections.abc import Iterator

from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.accounting import Account

# struct account_key and struct account of bpf/include/match.h
KEY = struct.Struct("=QII")
VALUE = struct.Struct("=5Q")
FIRST = bytes(4)


class Accounts:
    """Reads and drops accounts, each of one job, by its slot, in one cgroup."""

    def __init__(self, loaded: Object) -> None:
        self._object = loaded
        self._accounts = loaded.map("accounts")
        self._unclassified = loaded.map("unclassified")

    def all(self) -> dict[int, dict[int, Account]]:
        """Return all accounts, by job slot and cgroup id."""
        accounts: dict[int, dict[int, Account]] = defaultdict(dict)
        for cgroup, slot, account in self._read():
            accounts[slot][cgroup] = account
        return accounts

    def one(self, slot: int, cgroup_id: int) -> Account | None:
        """Return the account of one job in one cgroup."""
        value = self._accounts.lookup(KEY.pack(cgroup_id, slot, 0))
        return None if value is None else Account(*VALUE.unpack(value)[1:])

    def remove(self, slot: int, cgroup_id: int) -> None:
        """Drop one account."""
        self._accounts.delete(KEY.pack(cgroup_id, slot, 0))

    def clear(self, slot: int) -> None:
        """Drop all accounts of a job."""
        for cgroup, owner, _ in list(self._read()):
            if owner == slot:
                self.remove(slot, cgroup)

    def unclassified(self) -> int:
        """Return the number of events that no job's account holds, since the tracker began."""
        value = self._unclassified.lookup(FIRST) or b""
        counts: tuple[int, ...] = struct.unpack(f"={len(value) // 8}Q", value)
        return sum(counts) + self._object.misses()

    def _read(self) -> Iterator[tuple[int, int, Account]]:
        keys, values = self._accounts.snapshot()
        for (cgroup, slot, _), value in zip(
            KEY.iter_unpack(keys), VALUE.iter_unpack(values), strict=True
        ):
            yield cgroup, slot, Account(*value[1:])
