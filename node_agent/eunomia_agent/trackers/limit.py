# SPDX-License-Identifier: Apache-2.0
"""How fast a container may make events for a job before the rest counts as limited."""

from dataclasses import dataclass

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket as the kernel's GCRA keeps it: `struct limit` of eunomia.h.

    period_ns: time between two events at the allowed rate; 0 for no limit, NEVER for no event.
    burst_ns: how much time may be used up at once. sample: one event in so many is kept, at
    random; 0 and 1 keep all.
    """

    period_ns: int = 0
    burst_ns: int = 0
    sample: int = 0


NEVER = 2**64 - 1


def share(events_per_second: int, trackers: int, buckets: int) -> Limit:
    """Return the part of each token bucket, in each tracker, of what a job may make on a node.

    The parts add up to the budget, so that no noisy container can use up that of the others. One
    second's worth may come at once.
    """
    if events_per_second == 0:
        return Limit()
    parts = max(1, trackers) * max(1, buckets)
    return Limit(max(1, NANOSECONDS * parts // events_per_second), NANOSECONDS)
