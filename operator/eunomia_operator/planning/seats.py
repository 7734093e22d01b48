# SPDX-License-Identifier: Apache-2.0
"""Which jobs a node gets when more are meant for it than it can take. Pure.

The namespaces take turns, each with its oldest job first: a namespace that wants many never takes
the place of another's few, and one more job takes at most the place of the youngest of those that
have more. In each turn what guards goes before what only looks: nobody can push a policy from a
node with traces. All objects of the whole cluster together are as one namespace. A policy of
several jobs has a place for all of them, or none.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

SLOTS = 64
"""Jobs that an agent runs at a time."""
MOST_BYTES = 12 * 1024 * 1024
"""Of all jobs of a node: an agent takes messages of 16 MiB, with seccomp profiles beside them."""
REASON = "TooManyJobs"
MESSAGE = (
    f"a node takes at most {SLOTS} running jobs and {MOST_BYTES >> 20} MiB of specs, in turn from"
    " each namespace its oldest; it takes this one up when another ends"
)


class Rank(IntEnum):
    """How one stands beside the others of its namespace, and of its turn."""

    GUARD = 0
    TRACE = 1
    RESTING = 2
    """It needs no slot."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job, or all jobs of a policy, that are meant for a node.

    created: RFC 3339; size: bytes of the messages; jobs: how many they are.
    """

    uid: str
    namespace: str
    created: str
    rank: Rank
    size: int
    jobs: int = 1

    @property
    def slots(self) -> int:
        """Places that it takes."""
        return 0 if self.rank == Rank.RESTING else self.jobs


def left_out(candidates: Collection[Candidate]) -> frozenset[str]:
    """Return the uids of those for which there is no place."""
    if (
        sum(each.slots for each in candidates) <= SLOTS
        and sum(each.size for each in candidates) <= MOST_BYTES
    ):
        return frozenset()
    slots, room = SLOTS, MOST_BYTES
    refused: set[str] = set()
    for each in _in_turn(candidates):
        if slots < each.slots or room < each.size:
            refused.add(each.uid)
        else:
            slots -= each.slots
            room -= each.size
    return frozenset(refused)


def _in_turn(candidates: Collection[Candidate]) -> list[Candidate]:
    """Return all in the order in which they get a place."""
    before: dict[tuple[str, bool], int] = defaultdict(int)
    turns: list[tuple[tuple[bool, int, Rank, str, str], Candidate]] = []
    for each in sorted(candidates, key=lambda each: (each.rank, each.created, each.uid)):
        rests = each.rank == Rank.RESTING
        group = each.namespace, rests
        turns.append(((rests, before[group], each.rank, each.created, each.uid), each))
        before[group] += 1
    return [each for _, each in sorted(turns, key=lambda turn: turn[0])]
