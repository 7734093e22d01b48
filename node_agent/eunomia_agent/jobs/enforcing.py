# SPDX-License-Identifier: Apache-2.0
"""How long a job may enforce its rule without a word from the operator, and how often it did."""

import time
from collections.abc import Iterable

from eunomia_agent.jobs.job import Job

NANOSECONDS = 1_000_000_000


def allow(jobs: Iterable[Job], silence: float) -> None:
    """Let jobs enforce for as long as they may.

    silence: seconds since the operator's last word.
    """
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for job in jobs:
        if job.wanted.enforcement:
            until = deadline(now, job.wanted.respond_ms, silence)
            for run in job.runs.values():
                run.instance.enforce_until(job.slot, until)
            for judge in job.judges():
                judge.enforcing = not job.wanted.dry_run and (not until or now < until)


def deadline(now: int, respond_ms: int, silence: float) -> int:
    """Return when enforcing is to stop, in ns of the clock that shows `now`; 0: never."""
    if not respond_ms:
        return 0
    return max(1, now + respond_ms * 1_000_000 - round(silence * NANOSECONDS))


def count(job: Job) -> None:
    """Take in how often the kernel enforced a job's rule."""
    for name, run in job.runs.items():
        enforced = run.instance.enforced(job.slot)
        job.ledgers[name].enforced += enforced - run.enforced_before
        run.enforced_before = enforced
