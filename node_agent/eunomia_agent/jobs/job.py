# SPDX-License-Identifier: Apache-2.0
"""One job on this node: what it wants, who its containers are, what came of its events."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from google.protobuf.message import DecodeError

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.target import Target, matches, matches_pod, may_match
from eunomia_agent.containers.wearing import Wearers
from eunomia_agent.finding import Finding
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.sinks.sink import Sink
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Ledger, Totals
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.ladder import Ladder
from eunomia_agent.wanted import is_policy, name_of
from eunomia_api import agent_pb2
from eunomia_api.enforcement import of_job

if TYPE_CHECKING:
    from eunomia_agent.jobs.whose import Whose
    from eunomia_api.where import Expression

logger = logging.getLogger("eunomia.job")

MAX_MESSAGE = 1024
"""Characters of a message to the operator; the whole of it is in the agent's log."""


@dataclass(slots=True)
class Run:
    """One of the job's trackers while it runs."""

    key: Key
    instance: Instance
    rest: "Expression | None"
    """The condition on rows that the kernel could not decide."""
    sample: int
    """One event in so many is kept."""
    ladder: Ladder
    refused_before: int
    """The instance's unclassified events when the job joined it."""
    enforced_before: int = 0
    """How often it had enforced the slot's rule when this was last looked at."""
    whose: "Whose | None" = None
    """What a job that enforces a rule asks of owners alone."""
    buckets: int = 0
    """Cgroups of the job that had an event, as last read: each has a token bucket of its own."""
    seen: int = 0
    """What the kernel had matched when the rate was last measured."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a job does not run here."""

    reason: str
    message: str
    unsupported: bool = False


@runtime_checkable
class Judge(Protocol):
    """A sink that judges rows by a policy's rules, and counts what comes of it."""

    enforcing: bool
    """Whether the kernel answers who breaks a rule."""

    def find(self, finding: Finding) -> None:
        """Tell of what was found out without a rule."""
        ...

    def drop(self) -> None:
        """Take note that an alert of the policy was told and did not reach the operator."""
        ...

    def report(self) -> agent_pb2.PolicyReport:
        """Return what came of it since the policy began on this node."""
        ...

    def restore(self, report: agent_pb2.PolicyReport) -> None:
        """Go on from the counts of an earlier run."""
        ...


@dataclass(slots=True)
class Job:
    """A job that the operator wants on this node, whether it runs now or not."""

    wanted: agent_pb2.Job
    target: Target
    ledgers: dict[str, Ledger]
    gaps: int = 0
    running: bool = False
    """Whether the job holds a slot, and its programs are loaded."""
    slot: int = -1
    """The job's slot; -1 while it does not run."""
    sinks: Sequence[Sink] = ()
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    trouble: Trouble | None = None
    finished: bool = False
    judged: agent_pb2.PolicyReport = field(default_factory=agent_pb2.PolicyReport)
    """Of a policy: what had come of it when its sinks were opened last, or closed."""
    members: dict[int, str] = field(default_factory=dict[int, str])
    """Cgroups whose events are the job's, with the id of their container."""
    near: set[int] = field(default_factory=set[int])
    """Cgroups that belong to the job's pods, or may: while there are any, programs are attached."""
    pods: dict[int, str] = field(default_factory=dict[int, str])
    """Cgroups of the job's pods, with the pod's uid."""
    _containers: Counter[str] = field(default_factory=Counter[str])
    """Ids of the members' containers, with how many members each has."""

    @property
    def name(self) -> str:
        """namespace/name, or the name alone of a ClusterTraceJob."""
        return name_of(self.wanted)

    @property
    def deadline(self) -> float | None:
        """Unix time in seconds at which the job is to end; None when no end is to come."""
        if self.finished or self.wanted.suspended or not self.wanted.deadline_ms:
            return None
        return self.wanted.deadline_ms / 1000

    @property
    def bit(self) -> int:
        """The bit that stands for the job in sets of jobs; 0 while it does not run."""
        return 1 << self.slot if self.running else 0

    @property
    def attached(self) -> bool:
        """Whether all of its programs are at work."""
        return self.running and all(run.instance.attached for run in self.runs.values())

    @property
    def learns(self) -> bool:
        """Whether it runs, and is to learn what its containers do."""
        asked = self.wanted.learning
        return self.running and (asked.seccomp or asked.capabilities or bool(asked.audited))

    def shares(self, instance: Instance) -> bool:
        """Whether the instance runs for this job, too."""
        run = self.runs.get(instance.tracker)
        return run is not None and run.instance is instance

    @property
    def containers(self) -> int:
        """Number of containers; all of the host's cgroups count as one."""
        return len(self._containers)

    def meet(self, owner: Owner) -> bool:
        """Take note of a cgroup. Returns whether its events are the job's."""
        cgroup = owner.cgroup_id
        _note(self.near, cgroup, present=may_match(self.target, owner) or self._is_member(owner))
        if matches_pod(self.target, owner):
            self.pods[cgroup] = owner.pod_uid
        else:
            self.pods.pop(cgroup, None)
        if not self._is_member(owner):
            return False
        if self.members.get(cgroup) != owner.container_id:
            self.leave(cgroup)
            self.members[cgroup] = owner.container_id
            self._containers[owner.container_id] += 1
        return True

    def leave(self, cgroup_id: int) -> None:
        """Take note that a cgroup's events are not the job's any more."""
        container = self.members.pop(cgroup_id, None)
        if container is not None:
            self._containers[container] -= 1
            if not self._containers[container]:
                del self._containers[container]

    def forget(self, cgroup_id: int) -> None:
        """Forget a cgroup that is gone."""
        self.leave(cgroup_id)
        self.near.discard(cgroup_id)
        self.pods.pop(cgroup_id, None)

    def forget_all(self) -> None:
        """Forget whose cgroups are whose, as the job ends."""
        self.members.clear()
        self._containers.clear()
        self.near.clear()

    def _is_member(self, owner: Owner) -> bool:
        if not matches(self.target, owner):
            return False
        return all(run.whose.is_meant(owner) for run in self.runs.values() if run.whose is not None)

    def deliver(self, rows: Rows) -> Rows:
        """Hand rows that are the job's to every sink; return those that all of them accepted.

        Whatever raises, each row comes to one end: what no sink can be shown to have is lost.
        """
        ledger = self.ledgers[rows.tracker]
        wanted, accepted, limited = rows, 0, 0
        try:
            wanted = self._wanted(rows)
            accepted, limited = self._write(wanted)
        except Exception:
            owner = rows.owner.cgroup_id
            logger.exception("%s: rows of cgroup %d could not be delivered", self.name, owner)
        if rows.source == "events":
            ledger.filtered += len(rows) - len(wanted)
        else:
            ledger.counted += wanted.weight
        delivered = wanted if accepted == len(wanted) else wanted.take(slice(accepted))
        ledger.delivered += delivered.weight
        above = wanted.take(slice(len(wanted) - limited, None)).weight if limited else 0
        ledger.limited += above
        ledger.lost += wanted.weight - delivered.weight - above
        return delivered

    def _wanted(self, rows: Rows) -> Rows:
        """Return the rows that the job's condition lets pass."""
        rest = self.runs[rows.tracker].rest
        if rest is None:
            return rows
        from eunomia_agent.events.where import mask  # noqa: PLC0415  (few jobs have a condition)

        return rows.take(mask(rest, rows.batch, rows.constants))

    def _write(self, rows: Rows) -> tuple[int, int]:
        """Return how many rows, from the first, all sinks accepted; from the last, were limited."""
        accepted, limited = len(rows), 0
        for sink in self.sinks if len(rows) else ():
            taken = sink.write(rows)
            if taken < accepted:
                accepted, limited = taken, sink.limited
        return accepted, limited

    def open(self, sinks: Sequence[Sink]) -> None:
        """Take the job's sinks."""
        self.sinks = sinks
        for judge in self.judges():
            judge.restore(self.judged)

    def close(self) -> None:
        """Let go of the sinks."""
        for judge in self.judges():
            self.judged = judge.report()
        for sink in self.sinks:
            sink.close()
        self.sinks = ()

    def judges(self) -> Iterator[Judge]:
        """Give those of the sinks that judge."""
        for sink in self.sinks:
            if isinstance(sink, Judge):
                yield sink

    @property
    def is_policy(self) -> bool:
        """Whether it is asked of the node by a policy."""
        return is_policy(self.wanted)

    def _policy(self, trackers: Mapping[str, Totals]) -> bytes:
        """Return a policy's report; how often the kernel enforced a rule it alone knows."""
        if not self.is_policy:
            return b""
        report = agent_pb2.PolicyReport()
        report.CopyFrom(next((judge.report() for judge in self.judges()), self.judged))
        enforcement = of_job(self.wanted)
        if enforcement is not None:
            enforced = sum(totals.enforced for totals in trackers.values())
            setattr(report, enforcement.count, enforced)
        return report.SerializeToString(deterministic=True)

    def totals(self) -> JobTotals:
        """Return what is kept on the disk."""
        trackers = {name: ledger.totals() for name, ledger in self.ledgers.items()}
        return JobTotals(
            trackers=trackers,
            policy=self._policy(trackers),
            gaps=self.gaps,
            running=self.running,
            finished_deadline_ms=self.wanted.deadline_ms if self.finished else 0,
        )

    def report(
        self,
        totals: JobTotals,
        learned: Sequence[agent_pb2.Learned] = (),
        wearers: Wearers | None = None,
    ) -> agent_pb2.JobReport:
        """Return the report of the job, with totals that are on the disk already."""
        policy = policy_of(totals) if self.is_policy else None
        if policy is not None:
            policy.learned.extend(learned)
            if wearers is not None:
                policy.bound_pods, policy.unprotected_pods = wearers.bound, wearers.bare
        state, reason, message = self._state()
        return agent_pb2.JobReport(
            uid=self.wanted.uid,
            generation=self.wanted.generation,
            state=state,
            reason=reason,
            message=message[:MAX_MESSAGE],
            pods=len(set(self.pods.values())),
            totals=wire_totals(totals),
            gaps=totals.gaps,
            policy=policy,
            degraded="; ".join(self._problems())[:MAX_MESSAGE],
        )

    def _problems(self) -> Iterator[str]:
        for sink in self.sinks:
            if sink.problem:
                yield f"{sink.name}: {sink.problem}"
        for run in self.runs.values():
            for problem in (run.instance.problem, run.ladder.told()):
                if problem:
                    yield f"{run.instance.tracker}: {problem}"

    def _state(self) -> tuple[agent_pb2.JobState, str, str]:
        if self.wanted.suspended:
            return agent_pb2.JOB_STATE_SUSPENDED, "Suspended", ""
        if self.trouble is not None:
            state = (
                agent_pb2.JOB_STATE_UNSUPPORTED
                if self.trouble.unsupported
                else agent_pb2.JOB_STATE_FAILED
            )
            return state, self.trouble.reason, self.trouble.message
        if self.finished:
            return agent_pb2.JOB_STATE_FINISHED, "Finished", ""
        if self.attached and (self.pods or self.members):
            return agent_pb2.JOB_STATE_RUNNING, "Attached", ""
        return agent_pb2.JOB_STATE_WAITING, "NoPodMatches", ""


def wire_totals(totals: JobTotals) -> agent_pb2.Totals:
    """Return a job's totals, over all of its trackers, as they are reported."""
    total = sum(totals.trackers.values(), Totals())
    return agent_pb2.Totals(
        matched=total.matched,
        delivered=total.delivered,
        lost_kernel=total.lost_kernel,
        lost_agent=total.lost_agent,
        limited=total.limited,
        sampled_out=total.sampled_out,
        unclassified=total.unclassified,
    )


def policy_of(totals: JobTotals) -> agent_pb2.PolicyReport:
    """Return a policy's report out of what is kept on the disk.

    What cannot be read, of an agent of another release, counts as nothing.
    """
    try:
        return agent_pb2.PolicyReport.FromString(totals.policy)
    except DecodeError:
        return agent_pb2.PolicyReport()


def _note(cgroups: set[int], cgroup_id: int, *, present: bool) -> None:
    if present:
        cgroups.add(cgroup_id)
    else:
        cgroups.discard(cgroup_id)
