# SPDX-License-Identifier: Apache-2.0
"""How long a job may kill without a word from the operator, and how often it did."""

import time
from collections.abc import Iterable

from eunomia_agent.job import Job

NANOSECONDS = 1_000_000_000


def allow(jobs: Iterable[Job], silence: float) -> None:
    """Let jobs kill for as long as they may. silence: seconds since the operator's last word."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for job in jobs:
        if job.wanted.kill:
            until = deadline(now, job.wanted.respond_ms, silence)
            for run in job.runs.values():
                run.instance.enforce_until(job.slot, until)
            for judge in job.judges():
                judge.killing = not job.wanted.dry_run and (not until or now < until)


def deadline(now: int, respond_ms: int, silence: float) -> int:
    """Return when killing is to stop, in ns of the clock that shows `now`; 0: never."""
    if not respond_ms:
        return 0
    return max(1, now + respond_ms * 1_000_000 - round(silence * NANOSECONDS))


def count(job: Job) -> None:
    """Take in how often the kernel killed for a job."""
    for name, run in job.runs.items():
        killed = run.instance.enforced(job.slot)
        job.ledgers[name].killed += killed - run.killed_before
        run.killed_before = killed
