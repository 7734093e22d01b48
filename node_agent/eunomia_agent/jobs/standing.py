# SPDX-License-Identifier: Apache-2.0
"""Where all jobs of the node stand at one moment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.wearing import Wearers, Worn, wearers
from eunomia_agent.jobs.job import MAX_MESSAGE, Job
from eunomia_agent.jobs.lessons import Lessons
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.pool import Pool
from eunomia_api import agent_pb2


@dataclass(frozen=True, slots=True)
class Standing:
    """Where all jobs stand. Jobs go by their uid."""

    totals: dict[str, JobTotals] = field(default_factory=dict[str, JobTotals])
    reports: Mapping[str, agent_pb2.JobReport] = field(
        default_factory=dict[str, agent_pb2.JobReport]
    )
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """"namespace/name", or "name" of a ClusterTraceJob."""
    instances: Sequence[Instance] = ()
    next_deadline: float | None = None
    """Unix time of the next deadline, in seconds."""
    next_reading: float | None = None
    """When a table is to be read next, in seconds of the monotonic clock."""
    to_retry: bool = False
    """Whether a job could not be started, for a cause that may pass."""
    running: bool = False
    """Whether any job runs: while none does, the cgroups need not be watched."""
    problem: str | None = None
    """What keeps owners from being known, as far as it is looked at."""
    learned: Mapping[str, Any] | None = None
    """All that was learned for policies, as JSON has it; None: nothing new was since the start."""
    worn: Collection[str] | None = None
    """The seccomp profiles that containers here wear; None: it is not looked at who is here."""
    unasked: Collection[str] = ()
    """Ids of the pods' containers here of which it is not known what they wear."""
    learns: bool = False
    """Whether it is learned what containers here do, for any job."""
    starts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Starts of each tracker so far."""


def standing_of(
    jobs: Mapping[str, Job],
    pool: Pool,
    lessons: Lessons,
    owners: Mapping[int, Owner] | None,
    worn: Worn,
) -> Standing:
    """Return where jobs stand now. owners: of the node's cgroups, where they are known."""
    known = owners or {}
    here = {
        each.container_id for each in known.values() if each.kind == "container" and each.pod_uid
    }
    totals = {uid: job.totals() for uid, job in jobs.items()}
    deadlines = [job.deadline for job in jobs.values() if job.deadline is not None]
    return Standing(
        totals=totals,
        reports={
            uid: _report(job, totals[uid], lessons, _wearers(job, known, worn))
            for uid, job in jobs.items()
        },
        learned=lessons.saved,
        names={uid: job.name for uid, job in jobs.items()},
        instances=tuple(pool),
        next_deadline=min(deadlines, default=None),
        next_reading=min((each.due for each in pool if each.due is not None), default=None),
        to_retry=any(job.trouble and not job.trouble.unsupported for job in jobs.values()),
        running=any(job.running for job in jobs.values()),
        worn=None if owners is None else {worn[each].profile for each in here & worn.keys()} - {""},
        unasked=here - worn.keys(),
        learns=any(job.learns for job in jobs.values()),
        starts=dict(pool.starts),
    )


def _wearers(job: Job, owners: Mapping[int, Owner], worn: Worn) -> Wearers | None:
    profiles = {each.container: each.path for each in job.wanted.learning.profiles}
    return wearers(profiles, (owners[each] for each in job.members if each in owners), worn)


def _report(
    job: Job, totals: JobTotals, lessons: Lessons, worn_by: Wearers | None
) -> agent_pb2.JobReport:
    report = job.report(totals, lessons.report(job.wanted.uid), worn_by)
    if job.learns and lessons.problem:
        said = [report.degraded, lessons.problem] if report.degraded else [lessons.problem]
        report.degraded = "; ".join(said)[:MAX_MESSAGE]
    return report
