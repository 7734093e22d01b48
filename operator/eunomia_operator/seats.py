# SPDX-License-Identifier: Apache-2.0
"""Which jobs a node gets when more are meant for it than it can take. Pure.

The namespaces take turns, each with its oldest job first: a namespace that wants many never takes
the place of another's few, and one more job takes at most the place of the youngest of those that
have more. All ClusterTraceJobs together are as one namespace.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

SLOTS = 64
"""Jobs that an agent runs at a time."""
MOST_BYTES = 15 * 1024 * 1024
"""Of all jobs of a node: an agent takes messages of 16 MiB."""
REASON = "TooManyJobs"
MESSAGE = (
    f"a node takes at most {SLOTS} running jobs and {MOST_BYTES >> 20} MiB of specs, in turn from"
    " each namespace its oldest; it takes this one up when another ends"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that is meant for a node. created: RFC 3339; size: bytes of its message."""

    uid: str
    namespace: str
    created: str
    suspended: bool
    size: int


def left_out(candidates: Collection[Candidate]) -> frozenset[str]:
    """Return the uids of those for which there is no place."""
    running = sum(not each.suspended for each in candidates)
    if running <= SLOTS and sum(each.size for each in candidates) <= MOST_BYTES:
        return frozenset()
    slots, room = SLOTS, MOST_BYTES
    refused: set[str] = set()
    for each in _in_turn(candidates):
        needed = 0 if each.suspended else 1
        if slots < needed or room < each.size:
            refused.add(each.uid)
        else:
            slots -= needed
            room -= each.size
    return frozenset(refused)


def _in_turn(candidates: Collection[Candidate]) -> list[Candidate]:
    """Return all in the order in which they get a place. A suspended one needs no slot."""
    before: dict[tuple[str, bool], int] = defaultdict(int)
    turns: list[tuple[bool, int, str, str, Candidate]] = []
    for each in sorted(candidates, key=lambda each: (each.created, each.uid)):
        group = each.namespace, each.suspended
        turns.append((each.suspended, before[group], each.created, each.uid, each))
        before[group] += 1
    return [each for *_, each in sorted(turns, key=lambda turn: turn[:4])]
