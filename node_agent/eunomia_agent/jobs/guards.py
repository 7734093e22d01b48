# SPDX-License-Identifier: Apache-2.0
"""The guards of the policies' jobs, and what they share: where alerts go, and who tells of what."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.target import matches
from eunomia_agent.jobs.job import Job
from eunomia_agent.jobs.outputs import AlertOutputs
from eunomia_agent.metrics.security import Security
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.wanted import name_of
from eunomia_api import agent_pb2
from eunomia_api.enforcement import DENY, ENFORCEMENTS, Enforcement

if TYPE_CHECKING:
    from eunomia_agent.rules.guard import Guard, Outlet


class Guards:
    """Makes the guards. jobs, by uid, are those that the node has at any time."""

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        outlet: "Outlet",
        security: Security,
        outputs: AlertOutputs | None = None,
    ) -> None:
        """outputs: of the policies, beside the outlet of all; None: there are none."""
        self._trackers = trackers
        self._outlet = outlet
        self._security = security
        self._outputs = outputs
        self.jobs: Mapping[str, Job] = {}

    def guard(self, job: agent_pb2.Job) -> "Guard":
        """Return the guard of a job. Raises OutputUnknown."""
        from eunomia_agent.rules.guard import Guard  # noqa: PLC0415  (loads a parser)

        policy = name_of(job)

        def count(rule: str, severity: int, owner: Owner) -> None:
            self._security.count(policy, rule, severity, owner)

        def elsewhere(rule: str, owner: Owner) -> Enforcement | None:
            return None if job.enforcement else self._enforces(job.uid, rule, owner)

        return Guard(
            *(job, self._trackers, self._outlet, count, elsewhere),
            outputs=self._outputs.of(job) if self._outputs else (),
            node=self._security.node,
        )

    def note_gone(self, policy_uid: str) -> None:
        """Take note that an alert of a policy made room for another one."""
        job = self.jobs.get(policy_uid)
        for judge in job.judges() if job is not None else ():
            judge.drop()

    def forget(self, job: agent_pb2.Job) -> None:
        """Drop what was counted for a policy that is gone."""
        if not job.enforcement:
            self._security.forget(name_of(job))
            if self._outputs:
                self._outputs.forget(job)

    def _enforces(self, policy: str, rule: str, owner: Owner) -> Enforcement | None:
        """Return how a rule of a policy is enforced on an owner's processes by a job at work.

        A job that may kill no more goes on telling of all rows; one that may deny no more does not.
        """
        for enforcement in ENFORCEMENTS:
            job = self.jobs.get(policy + enforcement.part(rule))
            if job is None or not job.attached or not matches(job.target, owner):
                continue
            if enforcement is not DENY or any(judge.enforcing for judge in job.judges()):
                return enforcement
        return None
