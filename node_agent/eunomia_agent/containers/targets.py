# SPDX-License-Identifier: Apache-2.0
"""The kernel's maps that say which cgroups are watched: cgroups.bpf.c and eunomia.h."""

import errno
import struct
from typing import Protocol

from eunomia_agent.kernel.errors import KernelError, ObjectInvalid

_ID = struct.Struct("=Q")
_TARGET = struct.Struct("=QII")  # struct target: jobs, state, inherit
_LIMIT = struct.Struct("=QQQ")  # struct pending_limit: candidates, classified, bound
_COUNT = struct.Struct("=QQQ")  # struct pending_count: created, refused, lost
_FIRST = struct.pack("=I", 0)
_CLASSIFIED, _PENDING = 0, 1

BOUND = 256
"""Cgroups that may be pending at once, unless told otherwise."""


class Map(Protocol):
    """What is used of a kernel map."""

    @property
    def name(self) -> str:
        """Its name in C."""
        ...

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        ...

    @property
    def value_size(self) -> int:
        """Bytes of a value."""
        ...

    def snapshot(self) -> tuple[bytes, bytes]:
        """Return all keys and all values, each behind one another."""
        ...

    def lookup(self, key: bytes) -> bytes | None:
        """Return a value, or None."""
        ...

    def update(self, key: bytes, value: bytes) -> object:
        """Set a value."""
        ...

    def delete(self, key: bytes) -> object:
        """Delete a key that is there."""
        ...


class Targets:
    """Writes the maps `targets` and `pending_limit`, and reads `pending_count`.

    The only writer but for the kernel, and on one thread. A set of jobs is an int, bit i for the
    job in slot i.
    """

    def __init__(
        self, targets: Map, pending_limit: Map, pending_count: Map, *, bound: int = BOUND
    ) -> None:
        """Begin with no candidates. Raises ObjectInvalid for maps of another make."""
        _check(targets, _ID.size, _TARGET.size)
        _check(pending_limit, len(_FIRST), _LIMIT.size)
        _check(pending_count, len(_FIRST), _COUNT.size)
        self._targets = targets
        self._pending_limit = pending_limit
        self._pending_count = pending_count
        self._candidates = 0
        self._classified = 0
        self._no_room = 0
        self._bound = bound
        self._write_limit()

    def set(self, cgroup_id: int, jobs: int, *, inherit: bool, lasting: bool = False) -> None:
        """Say whose jobs a cgroup's events are for; for none it is no target any more.

        inherit: cgroups made inside belong to the same jobs from their first moment. True for a
        container's cgroup, false for a host's, in which containers may be made.
        lasting: it has an entry all the same for no job, so that the kernel can tell who is in the
        container from who comes from outside of it.
        """
        key = _ID.pack(cgroup_id)
        before = self._targets.lookup(key)
        after = _TARGET.pack(jobs, _CLASSIFIED, inherit or not jobs) if jobs or lasting else None
        if after == before:
            return
        if after and not self._enter(key, after):
            return
        if not after:
            self._targets.delete(key)
        if before and _TARGET.unpack(before)[1] == _PENDING:
            self._classified += 1
            self._write_limit()

    def pend(self, cgroup_id: int) -> None:
        """Let a cgroup whose owner is not known yet pass as pending for the candidates of now.

        For one that was made before the newest of them came, or before there were any.
        """
        key = _ID.pack(cgroup_id)
        before = self._targets.lookup(key)
        if before is None and self._candidates:
            if self._enter(key, _TARGET.pack(self._candidates, _PENDING, 0)):
                self._classified -= 1  # it holds a place that the kernel did not count
                self._write_limit()
        elif before is not None:
            jobs, state, inherit = _TARGET.unpack(before)
            if state != _CLASSIFIED:
                self._enter(key, _TARGET.pack(jobs | self._candidates, state, inherit))

    def delete(self, cgroup_id: int) -> None:
        """Forget a cgroup that is gone."""
        self.set(cgroup_id, 0, inherit=False)

    def set_candidates(self, jobs: int) -> None:
        """Say which jobs a new cgroup may turn out to belong to; for none, none is pending."""
        if jobs != self._candidates:
            self._candidates = jobs
            self._write_limit()

    def ids(self) -> list[int]:
        """Return the cgroups that have an entry, also those that only the kernel knows of."""
        keys, _ = self._targets.snapshot()
        return [cgroup_id for (cgroup_id,) in _ID.iter_unpack(keys)]

    @property
    def refused(self) -> int:
        """Cgroups that were turned away: too many were pending, or targets."""
        return self._count()[1] + self._no_room

    @property
    def lost(self) -> int:
        """Cgroup records that found no room; when it grows, scan again."""
        return self._count()[2]

    def _count(self) -> tuple[int, int, int]:
        return _COUNT.unpack(self._pending_count.lookup(_FIRST) or bytes(_COUNT.size))

    def _enter(self, key: bytes, value: bytes) -> bool:
        try:
            self._targets.update(key, value)
        except KernelError as error:
            if error.errno not in (errno.E2BIG, errno.ENOMEM):
                raise
            self._no_room += 1
            return False
        return True

    def _write_limit(self) -> None:
        limit = _LIMIT.pack(self._candidates, self._classified % 2**64, self._bound)
        self._pending_limit.update(_FIRST, limit)


def _check(found: Map, key_size: int, value_size: int) -> None:
    if (found.key_size, found.value_size) != (key_size, value_size):
        raise ObjectInvalid(
            f"map {found.name} has keys of {found.key_size} and values of {found.value_size} bytes "
            f"where this agent writes {key_size} and {value_size}: build the objects anew"
        )
