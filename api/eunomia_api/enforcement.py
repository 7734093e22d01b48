# SPDX-License-Identifier: Apache-2.0
"""What the kernel does by itself about who breaks a rule.

A policy has a job of its own for each rule that is enforced so. The policy's first job judges this
rule as well: where it cannot be enforced, it is reported.
"""

from dataclasses import dataclass

from eunomia_api import agent_pb2


@dataclass(frozen=True, slots=True)
class Enforcement:
    """One way to enforce a rule."""

    response: str
    """The rule's response that asks for it."""
    wire: agent_pb2.Enforcement
    """What agents are told."""
    done: str
    """What an alert says of a deed that was answered so."""
    count: str
    """The field of a PolicyReport, and of `status.alerts`, that counts them."""
    lacking: str
    """What is said of a rule on a node that cannot do it."""

    def part(self, rule: str) -> str:
        """Return what follows the policy's uid in that of the job that enforces a rule."""
        return f"/{self.response.lower()}/{rule}"


KILL = Enforcement("Kill", agent_pb2.ENFORCEMENT_KILL, "Killed", "killed", "kills nobody")
DENY = Enforcement("Deny", agent_pb2.ENFORCEMENT_DENY, "Denied", "denied", "refuses nothing")
ENFORCEMENTS = (KILL, DENY)


def by_response(response: str | None) -> Enforcement | None:
    """Return what the kernel does for a response; None where it has no part in it."""
    return next((each for each in ENFORCEMENTS if each.response == response), None)


def of_job(job: agent_pb2.Job) -> Enforcement | None:
    """Return what a job asks of the kernel; None for one that observes, or asks what is unknown."""
    return next((each for each in ENFORCEMENTS if each.wire == job.enforcement), None)
