# SPDX-License-Identifier: Apache-2.0
"""How many alerts of one container are told: one that makes many does not hide the others'."""

from collections import OrderedDict
from dataclasses import dataclass, field

from eunomia_agent.rules.alert import Case

RATE = 5
"""Alerts a second."""
BURST = 50
MAX_BUCKETS = 4096
SILENCE_NS = 60_000_000_000
"""Between two alerts that tell of the same flood, or of a rule while there is one."""
SECOND = 1_000_000_000


@dataclass(slots=True)
class _Bucket:
    at: int
    tokens: float = BURST
    refused: int = 0
    told_at: int | None = None
    told: dict[str, int] = field(default_factory=dict[str, int])
    """When each rule was told last."""


class Limit:
    """A token bucket for each container and severity, so that small alerts hide no grave ones.

    A rule of which nothing was told for a while needs no token: many alerts of one hide no other.
    Times are those of the rows' own clock: who sets the machine's changes nothing.
    """

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, int], _Bucket] = OrderedDict()

    def admits(self, case: Case) -> bool:
        """Take a token for an alert; whether there was one, or the alert is news."""
        bucket, time = self._bucket(case), case.at
        bucket.tokens = min(BURST, bucket.tokens + max(0, time - bucket.at) / SECOND * RATE)
        bucket.at = max(bucket.at, time)
        told_at = bucket.told.get(case.name)
        news = told_at is None or time - told_at >= SILENCE_NS
        if bucket.tokens < 1 and not news:
            bucket.refused += 1
            return False
        bucket.tokens = max(0, bucket.tokens - 1)
        bucket.told[case.name] = time
        return True

    def to_tell(self, case: Case) -> int:
        """Return how many were refused since that was last told; 0 where it was told just now."""
        bucket, time = self._bucket(case), case.at
        if bucket.told_at is not None and time - bucket.told_at < SILENCE_NS:
            return 0
        refused, bucket.refused, bucket.told_at = bucket.refused, 0, time
        return refused

    def _bucket(self, case: Case) -> _Bucket:
        """Return the bucket of a container. All that is no container shares one of its kind."""
        key = case.owner.container_id or case.owner.kind, case.rule.severity
        if key not in self._buckets:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets.popitem(last=False)
            self._buckets[key] = _Bucket(case.at)
        self._buckets.move_to_end(key)
        return self._buckets[key]
