# SPDX-License-Identifier: Apache-2.0
"""What is asked of a job before it runs."""

from collections import Counter
from collections.abc import Sequence

from eunomia_agent.errors import JobInvalid
from eunomia_agent.jobs.job import Job, policy_of
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Ledger
from eunomia_agent.wanted import target_of
from eunomia_api import agent_pb2
from eunomia_api.enforcement import of_job
from eunomia_api.param import shown


def may_run(wanted: agent_pb2.Job, now: float) -> bool:
    """Whether a job is to run at a Unix time: not suspended, and before its deadline."""
    over = bool(wanted.deadline_ms) and wanted.deadline_ms <= now * 1000
    return not (wanted.suspended or over)


def trackers_of(wanted: agent_pb2.Job) -> Sequence[agent_pb2.Tracker]:
    """Return a job's trackers. Raises JobInvalid: accounts go by the name of the tracker."""
    names = Counter(tracker.name for tracker in wanted.trackers)
    if not names and not wanted.HasField("learning"):
        raise JobInvalid("the job names no tracker")
    enforcement = of_job(wanted)
    if wanted.enforcement and enforcement is None:
        raise JobInvalid(
            f"the job asks the kernel for enforcement {wanted.enforcement}, which this agent does"
            " not know: update it"
        )
    if enforcement and wanted.target.everything:
        raise JobInvalid(
            f"the job says {enforcement.response}, and names nobody: give it a target other than"
            " everything"
        )
    if enforcement and len(wanted.rules) != 1:
        raise JobInvalid(
            f"the job says {enforcement.response}, and has {len(wanted.rules)} rules: give it the"
            " one that is to be enforced"
        )
    for name, times in names.most_common(1):
        if times > 1:
            twice = f"the job names the tracker {shown(name)} {times} times: once is enough"
            raise JobInvalid(twice)
    return wanted.trackers


def admit(wanted: agent_pb2.Job, before: JobTotals) -> Job:
    """Return a job that goes on from the totals of an earlier run of the agent."""
    return Job(
        wanted=wanted,
        target=target_of(wanted.target),
        ledgers={name: Ledger(before=totals) for name, totals in before.trackers.items()},
        gaps=before.gaps + before.running,
        judged=policy_of(before),
        finished=0 < before.finished_deadline_ms == wanted.deadline_ms,
    )
