# SPDX-License-Identifier: Apache-2.0
"""Chains: programs of several objects at one hook, each run by the one before it that runs."""

import struct
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from eunomia_agent.kernel.errors import KernelError
from eunomia_agent.kernel.link import Attachment
from eunomia_agent.kernel.object import Object
from eunomia_agent.kernel.program import Program
from eunomia_agent.kernel.rcu import wait_for_programs

SECTION = "tp_btf/sys_exit"
MAX_CHAINED = 32
"""Of bpf/include/chain.h, which says what a chain is for."""
PROGRAMS, NEXT, PLACE = "chained", "chained_next", "chain_place"
SHARED = frozenset({PROGRAMS, NEXT})
"""Maps that are the chain's, and not the objects'."""
FIRST, NONE, OUTSIDE = 0, 0, MAX_CHAINED + 1
"""The first program's place, what says that there is no next one, and the place of who has none."""
CALLS = "chained_calls"
"""How the variables are called, or begin to be, that tell which calls a program is for."""
CHAINED_CALLS = 512
"""Their size. Also of chain.h."""
_NUMBER = struct.Struct("=I")


class Chain:
    """The programs at the end of system calls. May be used by several threads.

    path: of the object with the first program, which is in the kernel while there is another one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._object: Object | None = None
        self._order: list[int] = []
        self._wanted: dict[int, bytes] = {}
        """By place: for each call whether that one's program wants it."""
        self._free = _places()

    def share(self, loading: Object) -> None:
        """Let an object take part that is not loaded yet, if it is made for that and will."""
        hooks = {each.section for each in loading.programs.values() if each.autoload}
        if PROGRAMS not in loading.maps or SECTION not in hooks:
            return
        with self._lock:
            first = self._opened()
        for name in SHARED:
            loading.map(name).reuse(first.map(name))

    def attach(self, loaded: Object, program: Program) -> Attachment:
        """Attach a program of an object that shares: here where it can be, else by itself.

        Raises KernelError.
        """
        if PROGRAMS not in loaded.maps or program.section != SECTION:
            return program.attach()
        with self._lock:
            first = self._object
            if first is None or not self._free:
                loaded.map(PLACE).update(_number(0), _number(OUTSIDE))
                return program.attach()
            place = self._free.popleft()
            try:
                loaded.map(PLACE).update(_number(0), _number(place))
                self._wanted[place] = calls_of(loaded.variables)
                self._append(first, place, program)
            except BaseException:
                self._remove(first, place)
                raise
            return Entry(self, first, place)

    def _append(self, first: Object, place: int, program: Program) -> None:
        first.map(PROGRAMS).update(_number(place), _number(program.fd))
        self._order.append(place)
        self._write(first)
        if len(self._order) == 1:
            first.attach()

    def remove(self, first: Object, place: int) -> None:
        """Run a program no more that was attached behind a first one."""
        with self._lock:
            if self._object is first:
                self._remove(first, place)

    def _remove(self, first: Object, place: int) -> None:
        if place not in self._order:
            self._free.append(place)
            return
        self._order.remove(place)
        self._write(first)
        wait_for_programs()  # who was about to jump here would find nothing, and skip all behind it
        first.map(PROGRAMS).delete(_number(place))
        self._free.append(place)
        if not self._order:
            first.detach()

    def _write(self, first: Object) -> None:
        """Write who is next for each call, for the last one first: nobody jumps to a gap."""
        following = bytearray([NONE]) * CHAINED_CALLS
        for place in reversed(self._order):
            first.map(NEXT).update(_number(place), bytes(following))
            for call, wanted in enumerate(self._wanted[place]):
                if wanted:
                    following[call] = place
        first.map(NEXT).update(_number(FIRST), bytes(following))

    def close(self) -> None:
        """Take the first program out of the kernel: none runs any more. It may be shared again."""
        with self._lock:
            if self._object is not None:
                self._object.close()
            self._object, self._order, self._wanted, self._free = None, [], {}, _places()

    def _opened(self) -> Object:
        if self._object is None:
            opened = Object.open(self._path)
            try:
                opened.load()
            except KernelError:
                opened.close()
                raise
            self._object = opened
        return self._object


class Entry:
    """A program's place in a chain, behind its first program."""

    def __init__(self, chain: Chain, first: Object, place: int) -> None:
        self._chain: Chain | None = chain
        self._first, self._place = first, place

    def close(self) -> None:
        """Detach."""
        chain, self._chain = self._chain, None
        if chain is not None:
            chain.remove(self._first, self._place)


def calls_of(variables: Mapping[str, bytes]) -> bytes:
    """Return for each number of a call whether a program with these variables wants it: not 0."""
    if CALLS not in variables:
        return b"\1" * CHAINED_CALLS
    params = (name.removeprefix(f"{CALLS}_") for name in variables if name.startswith(f"{CALLS}_"))
    tables = [variables[f"{CALLS}_{param}"] for param in params if any(variables[param])]
    return bytes(map(any, zip(variables[CALLS], *tables, strict=True)))


def _places() -> deque[int]:
    return deque(range(FIRST + 1, MAX_CHAINED + 1))


def _number(number: int) -> bytes:
    return _NUMBER.pack(number)
