# SPDX-License-Identifier: Apache-2.0
"""The programs and maps of seccomp.bpf.c."""

import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from eunomia_agent.kernel.errors import KernelError, ObjectInvalid
from eunomia_agent.kernel.map import Map
from eunomia_agent.kernel.object import Object
from eunomia_agent.kernel.rcu import wait_for_programs
from eunomia_agent.learning.seen import (
    BITS_SIZE,
    Asked,
    Bits,
    Caller,
    CallerKey,
    Of,
    RefusalKey,
    Refused,
    Seen,
)

_ID = struct.Struct("=Q")
_FIRST = bytes(4)
_LEARNING = struct.Struct("=QQ")  # struct learning: jobs, exits
_HEAD = struct.Struct("=QQQQQ")  # struct run: whole, began, modes, beyond, level
_RUN_SIZE = _HEAD.size + 4 * BITS_SIZE
_REFUSAL_KEY = struct.Struct("=QiHH")  # cgroup_id, number, compat, enforced
_REFUSAL = struct.Struct("=Q16s")  # count, comm
_ASKED_KEY = struct.Struct("=QII")  # cgroup_id, capability, pad
_ASKED = struct.Struct("=QQiI16s")  # granted, denied, call, pad, comm
_CALLER_KEY = struct.Struct("=QiHH")  # cgroup_id, number, compat, of
_CALLER = struct.Struct("=QII16s4I64s256s")  # time, uid, pid, comm, ancestors' pids and comms, exe
_NO_ROOM = struct.Struct("=QQQQ")  # cgroups, starting, refusals, asked
_SLOTS = 4096
_CLOSED = _ID.pack(2**64 - 1)
_SIZES = {
    "learning": (4, _LEARNING.size),
    "runs": (_ID.size, _RUN_SIZE),
    "slots": (4, _ID.size + BITS_SIZE),
    "audited": (_ID.size, BITS_SIZE),
    "refusals": (_REFUSAL_KEY.size, _REFUSAL.size),
    "asked": (_ASKED_KEY.size, _ASKED.size),
    "callers": (_CALLER_KEY.size, _CALLER.size),
    "no_room": (4, _NO_ROOM.size),
}
"""Bytes of keys and values of the maps that are read or written here."""


class Recording:
    """The programs, attached, and what they record. Times and numbers are the kernel's own."""

    def __init__(
        self, programs: Object, *, beginnings: Collection[str], deaf: str | None = None
    ) -> None:
        """deaf: why checks of capabilities are not heard of, if they are not."""
        for name, (key_size, value_size) in _SIZES.items():
            found = programs.map(name)
            if (found.key_size, found.value_size) != (key_size, value_size):
                raise ObjectInvalid(f"map {name} is of another make: build the objects anew")
        self._programs = programs
        self._sees_refusals = False
        self._jobs = 0
        self._unaudited = 0
        self._deaf = deaf
        self._stale: set[int] = set()
        self._closed: set[int] = set()
        self._forgotten: set[int] = set()
        self._links = [programs.programs[name].attach() for name in beginnings]

    @classmethod
    def open(
        cls,
        objects: Path,
        targets: Map,
        hierarchy: int,
        *,
        pids: Iterable[int] | None = None,
        by_command: bool = False,
    ) -> "Recording":
        """Load and attach. Raises KernelError.

        pids: only these processes, and what they start. by_command: a workload may share the mounts
        of who started it, as no container does.
        """
        programs = Object.open(objects / "seccomp.bpf.o")
        try:
            missing = programs.skip_missing(required=["tp_btf/sys_enter"])
            deaf = missing.get("fexit/cap_capable")
            if "tp_btf/cap_capable" not in missing:
                programs.programs["capability_answered"].autoload = False
                deaf = None
            programs.set("cgroup_hierarchy", hierarchy)
            programs.set("by_process", pids is not None)
            programs.set("by_command", by_command)
            programs.map("targets").reuse(targets)
            if pids is None:
                programs.map("processes").resize(1)
            programs.load()
            for pid in pids or ():
                programs.map("processes").update(struct.pack("=I", pid), struct.pack("=I", 1))
            each = programs.programs.values()
            wanted = [one.name for one in each if one.autoload and one.name != "call_ends"]
            return cls(programs, beginnings=wanted, deaf=deaf)
        except BaseException:
            programs.close()
            raise

    def close(self) -> None:
        """Take all of it out of the kernel."""
        while self._links:
            self._links.pop().close()
        self._programs.close()

    def set_jobs(self, jobs: int) -> None:
        """Say which jobs learn: a set of them as an int."""
        self._jobs = jobs
        self._write()

    def see_refusals(self) -> None:
        """Look at the ends of calls as well. It costs a second hook on each call of the node."""
        ends = self._programs.programs["call_ends"]
        if self._sees_refusals or not ends.autoload:
            return
        self._sees_refusals = True
        self._write()
        self._links.append(ends.attach())

    def audit(self, cgroup_id: int, allowed: Bits | None) -> None:
        """Count what a cgroup calls beside these; None: nothing is counted.

        What it called already is looked at anew from the next `settle` on.
        """
        self._settle_of(cgroup_id)
        audited = self._programs.map("audited")
        if allowed is None:
            audited.delete(_ID.pack(cgroup_id))
            return
        try:
            audited.update(_ID.pack(cgroup_id), allowed.pack())
        except KernelError:
            self._unaudited += 1
            return
        self._stale.add(cgroup_id)

    def begin(self, cgroup_id: int) -> None:
        """Make an entry for a cgroup that the kernel has not entered: its start was not seen."""
        runs = self._programs.map("runs")
        self._settle_of(cgroup_id)
        if runs.lookup(_ID.pack(cgroup_id)) is None:
            fresh = _HEAD.pack(0, 0, 0, 0, 2**64 - 1) + bytes(4 * BITS_SIZE)
            try:
                runs.insert(_ID.pack(cgroup_id), fresh)
            except KernelError:
                return  # there is no room: the program counts that at the next call

    def read(self) -> dict[int, Seen]:
        """Return what was recorded, by cgroup."""
        refusals, asked, callers = self._refusals(), self._asked(), self._callers()
        keys, values = self._programs.map("runs").snapshot()
        found: dict[int, Seen] = {}
        for index, (cgroup_id,) in enumerate(_ID.iter_unpack(keys)):
            value = values[index * _RUN_SIZE :][:_RUN_SIZE]
            its = refusals[cgroup_id], asked[cgroup_id], callers[cgroup_id]
            found[cgroup_id] = _seen(value, *its)
        return found

    def forget(self, cgroup_ids: Iterable[int]) -> None:
        """Remove the entries of cgroups that are no targets any more, or are gone.

        The last of them are removed by the next `settle`.
        """
        runs, audited = self._programs.map("runs"), self._programs.map("audited")
        for each in set(cgroup_ids):
            audited.delete(_ID.pack(each))
            self._stale.discard(each)
            if runs.lookup(_ID.pack(each)) is None:
                continue
            if self._owner_of_slot(each) == each:
                self._fill_slot(each, _CLOSED)
                self._closed.add(each)
            runs.delete(_ID.pack(each))
            self._forgotten.add(each)

    def settle(self) -> None:
        """Finish what `audit` and `forget` began: it waits for the kernel's programs, once."""
        if not self._stale and not self._forgotten:
            return
        # From here on nobody writes to the slots that were closed, and nobody who knows what was
        # allowed before may say of a call that nothing is left to do.
        wait_for_programs()
        for each in self._closed:
            self._fill_slot(each, bytes(_ID.size))
        for each in self._stale:
            if self._owner_of_slot(each) == each:
                self._fill_slot(each, _ID.pack(each))
        if self._forgotten:
            for name in ("refusals", "asked", "callers"):
                self._forget_of(self._programs.map(name), self._forgotten)
        self._stale, self._closed, self._forgotten = set(), set(), set()

    def untargeted(self, cgroup_ids: Iterable[int]) -> list[int]:
        """Return those that are not, or no longer, among the node's targets."""
        targets = self._programs.map("targets")
        return [each for each in cgroup_ids if targets.lookup(_ID.pack(each)) is None]

    @property
    def problem(self) -> str | None:
        """What went unseen, or None."""
        lost = _NO_ROOM.unpack(self._programs.map("no_room").lookup(_FIRST) or bytes(32))
        told = ("cgroups", "processes of a runtime", "refused calls", "checks of capabilities")
        problems = [
            f"{count} times there was no room for {what}"
            for count, what in zip(lost, told, strict=True)
            if count
        ]
        if self._deaf is not None:
            problems.append(f"checks of capabilities go unseen: {self._deaf}")
        if self._unaudited:
            problems.append(f"{self._unaudited} times there was no room to audit a cgroup")
        if misses := self._programs.misses():
            problems.append(f"the kernel passed over the programs {misses} times")
        return "; ".join(problems) or None

    def _settle_of(self, cgroup_id: int) -> None:
        """Let nothing new be recorded of a cgroup that would be removed with what was forgotten."""
        if cgroup_id in self._forgotten:
            self.settle()

    def _write(self) -> None:
        value = _LEARNING.pack(self._jobs, self._sees_refusals)
        self._programs.map("learning").update(_FIRST, value)

    def _owner_of_slot(self, cgroup_id: int) -> int:
        value = self._programs.map("slots").lookup(struct.pack("=I", cgroup_id % _SLOTS))
        return int(_ID.unpack_from(value or bytes(8))[0])

    def _fill_slot(self, cgroup_id: int, owner: bytes) -> None:
        key = struct.pack("=I", cgroup_id % _SLOTS)
        self._programs.map("slots").update(key, owner + bytes(BITS_SIZE))

    def _refusals(self) -> dict[int, dict[RefusalKey, Refused]]:
        found: dict[int, dict[RefusalKey, Refused]] = defaultdict(dict)
        keys, values = self._programs.map("refusals").snapshot()
        for key, value in zip(
            _REFUSAL_KEY.iter_unpack(keys), _REFUSAL.iter_unpack(values), strict=True
        ):
            cgroup_id, number, compat, enforced = key
            each = RefusalKey(number, bool(compat), bool(enforced))
            found[cgroup_id][each] = Refused(value[0], _text(value[1]))
        return found

    def _asked(self) -> dict[int, dict[int, Asked]]:
        found: dict[int, dict[int, Asked]] = defaultdict(dict)
        keys, values = self._programs.map("asked").snapshot()
        for key, value in zip(
            _ASKED_KEY.iter_unpack(keys), _ASKED.iter_unpack(values), strict=True
        ):
            granted, denied, call, _, comm = value
            found[key[0]][key[1]] = Asked(granted, denied, call, _text(comm))
        return found

    def _callers(self) -> dict[int, dict[CallerKey, Caller]]:
        found: dict[int, dict[CallerKey, Caller]] = defaultdict(dict)
        keys, values = self._programs.map("callers").snapshot()
        for key, value in zip(
            _CALLER_KEY.iter_unpack(keys), _CALLER.iter_unpack(values), strict=True
        ):
            cgroup_id, number, compat, of = key
            if value[0]:
                found[cgroup_id][CallerKey(Of(of), number, bool(compat))] = _caller(value)
        return found

    def _forget_of(self, table: Map, gone: set[int]) -> None:
        keys, _ = table.snapshot()
        size = table.key_size
        each = (keys[at : at + size] for at in range(0, len(keys), size))
        table.delete_many(b"".join(key for key in each if _ID.unpack_from(key)[0] in gone))


def _caller(value: tuple[Any, ...]) -> Caller:
    time, uid, pid, comm, *pids, comms, exe = value
    each = (_text(comms[at : at + 16]) for at in range(0, len(comms), 16))
    ancestors = tuple((pid, comm) for pid, comm in zip(pids, each, strict=True) if pid)
    return Caller(time, pid, uid, _text(comm), _text(exe), ancestors)


def _seen(
    value: bytes,
    refusals: Mapping[RefusalKey, Refused],
    asked: Mapping[int, Asked],
    callers: Mapping[CallerKey, Caller],
) -> Seen:
    whole, began, modes, beyond, _ = _HEAD.unpack_from(value)
    called, filtered, started, _ = (
        Bits.unpack(value[_HEAD.size + index * BITS_SIZE :]) for index in range(4)
    )
    bits = called, filtered, started
    return Seen(bool(whole), bool(began), modes, beyond, *bits, refusals, asked, callers)


def _text(comm: bytes) -> str:
    return comm.split(b"\0", 1)[0].decode(errors="backslashreplace")
