# SPDX-License-Identifier: Apache-2.0
"""What makes two uses of a tracker the same."""

from dataclasses import dataclass
from enum import IntEnum


class Enforcement(IntEnum):
    """What is done about an event beside telling of it: enum enforcement of match.h."""

    NONE = 0
    KILL = 1
    DENY = 2


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two uses of a tracker the same.

    params: all of them. memory_bytes: for its ring and its tables. conditions:
    variables of match.h with what they hold, as it lies in memory, and maps of match_path.h with
    their keys. pids: of the only processes that are watched; empty for all. children: watch what
    they start, too. interval_ms: between two readings of what is counted in the kernel; 0 for a
    tracker that counts nothing there. enforcement: what is done to who makes an event.
    """

    tracker: str
    params: tuple[tuple[str, bool | int | str], ...]
    memory_bytes: int
    conditions: tuple[tuple[str, bytes], ...] = ()
    pids: tuple[int, ...] = ()
    children: bool = False
    interval_ms: int = 0
    enforcement: Enforcement = Enforcement.NONE
