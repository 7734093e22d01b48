# SPDX-License-Identifier: Apache-2.0
"""Doing less for jobs that pass their budgets by far, and more again for those that do not.

Not for policies: one container that makes events enough would blind them to all others. What it
makes above its part of the budget is limited in the kernel, at its own cost.
"""

import logging
import time
from collections.abc import Callable, Iterable

from eunomia_agent.jobs.job import Job, Run
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.ladder import Rung

logger = logging.getLogger("eunomia.tracing")


class Shedding:
    """Looks at the rate of each job's events, and steps up and down its ladders."""

    def __init__(self, take: Callable[[Instance], None]) -> None:
        """Prepare. take: ends the interval of an instance's tables."""
        self._take = take
        self._looked_at = time.monotonic()

    def step(self, jobs: Iterable[Job]) -> bool:
        """Look once. Returns whether for any job more, or less, is done than before."""
        now = time.monotonic()
        seconds, self._looked_at = now - self._looked_at, now
        changed = False
        for job in jobs:
            for name in job.runs:
                changed |= self._step(job, name, now, seconds)
        return changed

    def _step(self, job: Job, name: str, now: float, seconds: float) -> bool:
        run: Run = job.runs[name]
        if not run.instance.has_events or job.is_policy:
            return False  # an event more in a table is no row more, and costs little
        seen = job.ledgers[name].seen
        before, rate = run.ladder.rung, max(0, seen - run.seen) / max(seconds, 0.001)
        run.seen = seen
        after = run.ladder.step(now, rate)
        if after is before:
            return False
        job.gaps += after is Rung.STOPPED
        if Rung.STOPPED in (before, after):  # what tables hold is not of the gap
            self._take(run.instance)
        if after is Rung.STOPPED:
            run.instance.leave(job.slot)
        logger.warning("%s: %s: %s", job.name, name, run.ladder.told() or "goes on")
        return True
