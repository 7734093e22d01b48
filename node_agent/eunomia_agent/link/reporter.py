# SPDX-License-Identifier: Apache-2.0
"""What the operator is told of the jobs, and how often."""

import time
from collections.abc import Iterator, Mapping, Sequence

from eunomia_agent.jobs.job import MAX_MESSAGE, policy_of, wire_totals
from eunomia_agent.link.session import Session
from eunomia_agent.state import JobTotals
from eunomia_api import agent_pb2

JOBS_A_MESSAGE = 50
BYTES_A_MESSAGE = 1024 * 1024
"""Of several jobs; what one job alone has to say goes whatever its size."""


class Reporter:
    """Reports what changed: states at once, counters alone no sooner than the operator asked."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._told: dict[str, agent_pb2.JobReport] = {}
        self._counted_at = 0.0
        self._told_files: Sequence[agent_pb2.SeccompFileReport] | None = None

    def begin(self) -> None:
        """Begin a stream, which has heard nothing."""
        self._told.clear()
        self._told_files = None
        self._counted_at = 0.0

    def report(
        self,
        session: Session,
        reports: Mapping[str, agent_pb2.JobReport],
        kept: Mapping[str, JobTotals],
        problems: Sequence[str],
    ) -> None:
        """Send what is news. Reports go by the uid of the job.

        kept: the totals that are on the disk, which alone are told: after a kill the agent begins
        from them. problems: what is wrong for all jobs.
        """
        now = time.monotonic()
        counters_due = now - self._counted_at >= session.report_interval
        news = [
            report
            for uid, raw in reports.items()
            if self._is_news(report := _told(raw, kept.get(uid), problems), counters_due)
        ]
        for part in _parts(news):
            message = agent_pb2.FromAgent(report=agent_pb2.Report(node=self._node, jobs=part))
            if not session.send(message):
                return
            self._told.update((report.uid, report) for report in part)
        if counters_due and news:
            self._counted_at = now
        self._told = {uid: self._told[uid] for uid in reports if uid in self._told}

    def report_files(self, session: Session, files: Sequence[agent_pb2.SeccompFileReport]) -> None:
        """Say which seccomp profiles lie here, if that is news."""
        if files == self._told_files:
            return
        report = agent_pb2.Report(node=self._node, seccomp_files=files, has_seccomp_files=True)
        if session.send(agent_pb2.FromAgent(report=report)):
            self._told_files = files

    def _is_news(self, report: agent_pb2.JobReport, counters_due: bool) -> bool:
        before = self._told.get(report.uid)
        if before is None or report == before:
            return before is None
        return counters_due or _state(report) != _state(before)


def _told(
    raw: agent_pb2.JobReport, kept: JobTotals | None, problems: Sequence[str]
) -> agent_pb2.JobReport:
    report = agent_pb2.JobReport()
    report.CopyFrom(raw)
    kept = kept or JobTotals()
    report.totals.CopyFrom(wire_totals(kept))
    if raw.HasField("policy"):
        report.policy.CopyFrom(policy_of(kept))
        report.policy.learned.extend(raw.policy.learned)
        if raw.policy.HasField("bound_pods"):
            report.policy.bound_pods = raw.policy.bound_pods
            report.policy.unprotected_pods = raw.policy.unprotected_pods
    if problems and report.state in (agent_pb2.JOB_STATE_RUNNING, agent_pb2.JOB_STATE_WAITING):
        said = [report.degraded, *problems] if report.degraded else problems
        report.degraded = "; ".join(said)[:MAX_MESSAGE]
    return report


def _state(report: agent_pb2.JobReport) -> tuple[object, ...]:
    return (
        report.generation,
        report.state,
        report.reason,
        report.message,
        report.pods,
        report.policy.bound_pods,
        report.policy.unprotected_pods,
        report.gaps,
        report.degraded,
        tuple((problem.rule, problem.message) for problem in report.policy.problems),
    )


def _parts(reports: Sequence[agent_pb2.JobReport]) -> Iterator[Sequence[agent_pb2.JobReport]]:
    part: list[agent_pb2.JobReport] = []
    size = 0
    for report in reports:
        own = report.ByteSize()
        if part and (len(part) == JOBS_A_MESSAGE or size + own > BYTES_A_MESSAGE):
            yield part
            part, size = [], 0
        part.append(report)
        size += own
    if part:
        yield part
