# SPDX-License-Identifier: Apache-2.0
"""What a tracker still does for a job whose budget is passed by far. Pure.

Above its budget a job gets as many events as the budget allows, and the rest is counted as limited.
That alone costs the traced programs something for each event. So a job goes down, rung by rung:
from events to counts alone, and from there to nothing at all, and comes back by itself.
"""

from dataclasses import dataclass, field
from enum import IntEnum

COUNTS_ABOVE, COUNTS_FACTOR = 50_000, 10
STOPPED_ABOVE, STOPPED_FACTOR = 500_000, 100
"""Events a second and node, and times the budget: the greater of both is where the rung begins."""
PATIENCE_SECONDS = 3.0
"""For how long a rate must be too high before the job goes down a rung."""
CALM_SECONDS = 10.0
"""For how long it must be below half of that before the job goes up again."""
REST_SECONDS = 30.0
"""How long nothing is done before it is looked again; twice as long after each look, to a limit."""
LONGEST_REST_SECONDS = 480.0


class Rung(IntEnum):
    """What is done: all, counting alone, nothing."""

    EVENTS = 0
    COUNTS = 1
    STOPPED = 2


@dataclass(slots=True)
class Ladder:
    """Where one tracker of one job stands.

    budget: events a second and node; 0 for no limit, and then it never goes down.
    """

    budget: int
    rung: Rung = Rung.EVENTS
    rate: float = 0.0
    """Events a second, as last measured."""
    _hot_since: float | None = None
    _calm_since: float | None = None
    _rest: float = field(default_factory=lambda: REST_SECONDS)
    _until: float = 0.0

    def step(self, now: float, rate: float) -> Rung:
        """Take note of the rate of the last second or so; return the rung to stand on.

        now: seconds of a clock that never goes back. rate: what matched, a second; while nothing
        is done it is not looked at.
        """
        if self.budget and self.rung is Rung.STOPPED:
            if now >= self._until:
                self._go(Rung.COUNTS)
        elif self.budget:
            self.rate = rate
            self._hot_since = self._since(self._hot_since, now, rate > self._bound(self.rung))
            below = self.rung is Rung.COUNTS and rate < self._bound(Rung.EVENTS) / 2
            self._calm_since = self._since(self._calm_since, now, below)
            if self._hot_since is not None and now - self._hot_since >= PATIENCE_SECONDS:
                self._down(now)
            elif self._calm_since is not None and now - self._calm_since >= CALM_SECONDS:
                self._rest = REST_SECONDS
                self._go(Rung.EVENTS)
        return self.rung

    def told(self) -> str | None:
        """Return what is not done at present, and why; None when all is."""
        much = f"{self.rate:,.0f} events/s are far above its budget of {self.budget:,}/s"
        match self.rung:
            case Rung.EVENTS:
                return None
            case Rung.COUNTS:
                return f"events are only counted: {much}"
            case Rung.STOPPED:
                return f"stopped, to be tried again within {self._rest:.0f} s: {much}"

    def _bound(self, rung: Rung) -> float:
        if rung is Rung.EVENTS:
            return max(COUNTS_ABOVE, COUNTS_FACTOR * self.budget)
        return max(STOPPED_ABOVE, STOPPED_FACTOR * self.budget)

    def _down(self, now: float) -> None:
        if self.rung is Rung.EVENTS:
            self._go(Rung.COUNTS)
            return
        self._go(Rung.STOPPED)
        self._until = now + self._rest
        self._rest = min(LONGEST_REST_SECONDS, 2 * self._rest)

    def _go(self, rung: Rung) -> None:
        self.rung, self._hot_since, self._calm_since = rung, None, None

    @staticmethod
    def _since(since: float | None, now: float, holds: bool) -> float | None:
        if not holds:
            return None
        return now if since is None else since
