# SPDX-License-Identifier: Apache-2.0
"""What the kernel recorded of a cgroup."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from eunomia_agent.learning.calls import WORDS

BITS_SIZE = WORDS * 8 * 2
"""Bytes of a `struct bits`."""
UNFILTERED, FILTERED = 1, 2
"""Modes of a run: its workload was seen without a seccomp filter, and with one."""


@dataclass(frozen=True, slots=True)
class Bits:
    """A set of calls: bit i for number i of the machine's own table, and of 32-bit programs'."""

    own: int = 0
    compat: int = 0

    def __or__(self, other: "Bits") -> "Bits":
        return Bits(self.own | other.own, self.compat | other.compat)

    @classmethod
    def unpack(cls, data: bytes) -> "Bits":
        """Read a `struct bits`."""
        half = BITS_SIZE // 2
        own, compat = data[:half], data[half:BITS_SIZE]
        return cls(int.from_bytes(own, sys.byteorder), int.from_bytes(compat, sys.byteorder))

    def pack(self) -> bytes:
        """Return the `struct bits`."""
        half = BITS_SIZE // 2
        return b"".join(each.to_bytes(half, sys.byteorder) for each in (self.own, self.compat))


NOTHING = Bits()


@dataclass(frozen=True, slots=True)
class RefusalKey:
    """A call that was refused, or, not enforced, that an audited profile would refuse."""

    number: int
    compat: bool
    enforced: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """How often, and by whom first."""

    count: int
    comm: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Checks of one capability. call: number of the call that asked first; negative: another's."""

    granted: int
    denied: int
    call: int
    comm: str


class Of(IntEnum):
    """What it is that somebody was the first to do: enum caller_of of seccomp.bpf.c."""

    WOULD_BE_REFUSED = 0
    WAS_REFUSED = 1
    WAS_GRANTED = 2
    WAS_DENIED = 3


@dataclass(frozen=True, slots=True)
class CallerKey:
    """A call, or a capability, and what became of it. number: of the one or the other."""

    of: Of
    number: int
    compat: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who did something first. time: ns of CLOCK_BOOTTIME. ancestors: the parent first."""

    time: int
    pid: int
    uid: int
    comm: str
    exe: str
    ancestors: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What was recorded of one cgroup. modes: of UNFILTERED and FILTERED, those that were seen."""

    whole: bool
    began: bool
    modes: int
    beyond: int
    called: Bits
    filtered: Bits
    started: Bits
    refusals: Mapping[RefusalKey, Refused] = field(default_factory=dict[RefusalKey, Refused])
    asked: Mapping[int, Asked] = field(default_factory=dict[int, Asked])
    callers: Mapping[CallerKey, Caller] = field(default_factory=dict[CallerKey, Caller])
    """Of those for whom there was room."""
