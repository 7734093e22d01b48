# SPDX-License-Identifier: Apache-2.0
"""One policy as the operator follows it. On a node it is a job, and one more for each rule that
the kernel enforces, whose uid is that of the policy and /kill/RULE or /deny/RULE.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eunomia_api import agent_pb2
from eunomia_api.acceptance import NotAccepted
from eunomia_api.enforcement import by_response
from eunomia_api.library import Library
from eunomia_api.policy import CapabilitiesMode, Mode, SeccompMode
from eunomia_api.policy_acceptance import Accepted, accept_policy
from eunomia_api.policystatus import (
    MAX_PROBLEMS,
    CapabilitiesStatus,
    LastAlert,
    PodField,
    RuleProblem,
    SecurityPolicyStatus,
)
from eunomia_api.rule import Response
from eunomia_api.seccomp import SeccompProfileSpec
from eunomia_api.tracker import Catalogue
from eunomia_operator.accounting.account import Account
from eunomia_operator.accounting.alerttally import tally_of
from eunomia_operator.accounting.ledger import NodeReport
from eunomia_operator.accounting.records import Slots
from eunomia_operator.learned import capabilities, seccomp
from eunomia_operator.learned.inheritance import NOTHING, Inherited
from eunomia_operator.learned.learning import Learning
from eunomia_operator.learned.profile import Kept
from eunomia_operator.learned.seccomp import Worn
from eunomia_operator.objects.followed import (
    LONGEST_MESSAGE,
    Followed,
    Heard,
    judged,
    node_report,
)
from eunomia_operator.objects.world import Resource
from eunomia_operator.planning.plan import PlannedPolicy
from eunomia_operator.status import policy as policy_status
from eunomia_operator.status.news import News, policy_news
from eunomia_operator.text import plain

logger = logging.getLogger("eunomia.control")

OBSERVES = ""
"""The part of a policy's job that judges its rules; each other one enforces a rule."""
SETTLING_SECONDS = 30.0
"""So long a new leader waits for nodes to say again what they have learned."""
LEARNING_SECONDS = 2.0
"""Between two looks at whether enough was learned, though nothing was heard."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What policies are judged by."""

    catalogue: Catalogue
    library: Library
    spared: tuple[str, ...]
    """Namespaces in which no policy responds."""


class Policy(Followed[SecurityPolicyStatus]):
    """One policy."""

    def __init__(self, seen: Resource, terms: Terms, slots: Slots) -> None:
        """Begin with a policy as it is first seen, and with what an earlier leader made of it."""
        super().__init__(seen, SecurityPolicyStatus, slots)
        before = self.status
        self._terms = terms
        self.verdict = self._judged(seen)
        self._learning = Learning()
        self._learned: Mapping[str, Sequence[agent_pb2.Learned]] | None = None
        self.wanted_profiles: Mapping[str, SeccompProfileSpec] = {}
        """By container: the seccomp profiles that there should be."""
        self._profiles: Mapping[str, Kept] = {}
        self._inherited = NOTHING
        self._audited: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self._heard: set[str] = set()
        self._paths: tuple[tuple[str, str], ...] = ()
        self._worn: dict[str, Worn] = {}
        self._places: dict[str, str] = {
            each.name: each.pod_field for each in before.capabilities.containers if each.pod_field
        }
        """By container: the list of the pod's spec that has it."""
        self._learned_at = 0.0
        self.isolated = before.alerts.isolated
        """Pods that were cut off the network."""
        self.last_alert = before.last_alert
        self._isolating = self._responding(Response.ISOLATE)
        self._parts = {OBSERVES, *self._enforcing()}
        self._part_slots = Slots()
        self._alerts = Account(
            tally_of(before.alerts),
            tally_of(before.retired_alerts),
            self._part_slots,
        )
        self._problems: dict[str, tuple[RuleProblem, ...]] = {}

    @property
    def over(self) -> bool:
        """A policy is never over."""
        return False

    @property
    def accepted(self) -> Accepted | None:
        """The policy as it was accepted."""
        return None if isinstance(self.verdict, NotAccepted) else self.verdict

    @property
    def rules(self) -> frozenset[str]:
        """Names of the rules that are judged."""
        rules = self.accepted.rules if self.accepted else ()
        return frozenset(each.name for each in rules)

    def knows(self, node: str) -> bool:
        """Tell whether a node has, or had, a part in it."""
        return node in self.nodes or node in self.ledger

    def isolates(self, rule: str) -> bool:
        """Tell whether pods that break a rule are to be cut off the network, but for a dry run."""
        return rule in self._isolating

    @property
    def isolates_any(self) -> bool:
        """Whether pods are cut off the network for any rule."""
        return bool(self._isolating) and not self.dry

    @property
    def most_pods_a_minute(self) -> int:
        """So many pods may be cut off in a minute."""
        return self.accepted.spec.response.max_pods_per_minute if self.accepted else 0

    @property
    def dry(self) -> bool:
        """Whether it responds to nothing."""
        return self.accepted is None or self.accepted.spec.mode == Mode.DRY_RUN

    def planned(self) -> PlannedPolicy | None:
        """Return what nodes are to be told; None when there is nothing to tell."""
        if self.accepted is None:
            return None
        return PlannedPolicy(
            uid=self.object.uid,
            kind=self.object.kind,
            namespace=self.object.namespace,
            name=self.object.name,
            generation=self.object.generation,
            accepted=self.accepted,
            created=self.object.created,
            spared=self._terms.spared,
            audited=self._audited,
            profiles=self._paths,
            bound=self.status.seccomp.mode == SeccompMode.ENFORCE,
            expected=self._expected(),
        )

    def node_selector(self) -> Mapping[str, str] | None:
        """Return the labels of the nodes that it is meant for; None when it is for none."""
        return None if self.accepted is None else self.accepted.spec.target.node_selector

    def change(self, changed: Resource) -> None:
        """Take in an edit by a user."""
        before = self._enforcing().keys()
        self.object = changed
        self.verdict = self._judged(changed)
        self.ledger.begin_generation(changed.generation)
        self._problems.clear()
        self._isolating = self._responding(Response.ISOLATE)
        now = self._enforcing().keys()
        self._parts |= now
        for part in before - now:
            for node in self.nodes:
                self._alerts.withdraw(node + part)
        self.dirty = True

    def withdraw(self, node: str) -> None:
        """A node that still exists has no part in it any more."""
        super().withdraw(node)
        for part in self._parts:
            self._alerts.withdraw(node + part)
        self._problems.pop(node, None)
        self._worn.pop(node, None)

    def retire(self, node: str) -> None:
        """A node is gone: what it counted stays."""
        super().retire(node)
        for part in self._parts:
            self._alerts.retire(node + part)
            self._part_slots.release(node + part)
        self._problems.pop(node, None)
        self._learning.forget(node)
        self._learned = None
        self._worn.pop(node, None)
        self._heard.discard(node)

    def hear(self, node: str, report: agent_pb2.JobReport) -> Heard:
        """Take in what a node says of one part."""
        said = node_report(report)
        counted = tally_of(report.policy)
        part = report.uid.removeprefix(self.object.uid)
        if said is None or not counted.believable:
            return Heard.UNTRUE
        if part not in self._parts:
            # Of a rule that is enforced no more, or a newer agent's.
            return Heard.COUNTED
        self.dirty = True
        said = _of_age(said, report)
        if part == OBSERVES:
            moved = self.ledger.report(node, said) | self._note(node, said, report.policy)
        else:
            # An agent counts an alert with the job that enforces or, where that one does not run,
            # with the one that observes.
            moved = self.ledger.note_aside(node, part, self._trouble(part, said))
        self._alerts.report(node + part, counted)
        return Heard.MOVED if moved else Heard.COUNTED

    def judge(self, now: float, led_since: float, unreachable: frozenset[str]) -> list[News]:
        """Bring the status up to date; return what is worth telling."""
        before = self.status
        census, failures = self.count(unreachable)
        parts = {OBSERVES, *self._enforcing()}
        told = self.nodes - self.left_out
        self._alerts.settle(node + part for node in told for part in parts)
        settled = now >= led_since + SETTLING_SECONDS or told <= self._heard
        facts = policy_status.Facts(
            now=now,
            generation=self.object.generation,
            verdict=self.verdict,
            census=census,
            pods=self.ledger.pods,
            gaps=self.ledger.gaps,
            events=self.ledger.events,
            retired=self.ledger.retired,
            alerts=self._alerts.figure,
            retired_alerts=self._alerts.retired,
            isolated=self.isolated,
            last_alert=self.last_alert,
            problems=self._node_problems(),
            failures=failures,
            seccomp=self._decide(now, settled=settled),
            capabilities=self._capabilities(settled=settled),
        )
        self.status = policy_status.judge(before, facts)
        self.dirty = False
        self._learned_at = now
        return policy_news(before, self.status)

    def is_judgement_due(self, now: float) -> bool:
        """Tell whether the status may have to say something else by now."""
        learns = self.accepted and self.accepted.spec.seccomp.mode != SeccompMode.DISABLED
        return self.dirty or (bool(learns) and now >= self._learned_at + LEARNING_SECONDS)

    def is_urgent(self) -> bool:
        """Tell whether the status may not wait for the next time that counters are written."""
        return policy_status.is_urgent(self.written, self.status)

    def note_alert(self, alert: LastAlert) -> None:
        """Take note of an alert, if it is the newest."""
        if self.last_alert is None or self.last_alert.time <= alert.time:
            self.last_alert = alert
            self.dirty = True

    def note_isolated(self) -> None:
        """Take note that one more pod was cut off the network."""
        self.isolated += 1
        self.dirty = True

    @property
    def base_profile(self) -> str | None:
        """The profile whose calls its own ones allow as well."""
        return self.accepted.spec.seccomp.base_profile_name if self.accepted else None

    def note_profiles(self, profiles: Mapping[str, Kept], inherited: Inherited) -> None:
        """Take note of the seccomp profiles that there are, by container, and of their base."""
        if (profiles, inherited) != (self._profiles, self._inherited):
            self._profiles, self._inherited = profiles, inherited
            self.dirty = True

    def note_places(self, places: Mapping[str, PodField]) -> None:
        """Take note of the lists of their pod's spec that have the containers, by their name."""
        new = {name: each.value for name, each in places.items() if name not in self._places}
        if new:
            self._places |= new
            self.dirty = True

    def unplaced(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Return pods, as namespace and name, of containers whose place in them is not known."""
        if self._capabilities_mode == CapabilitiesMode.DISABLED:
            return {}
        own = self.object.namespace
        open_ = self._learning.names - self._places.keys()
        told = {name: self._learning.pods(name) for name in open_}
        found = {
            name: [each for each in pods if own in ("", each[0])] for name, pods in told.items()
        }
        return {name: pods for name, pods in found.items() if pods}

    def _decide(self, now: float, *, settled: bool) -> seccomp.Outcome:
        """Return what follows from what was learned of system calls."""
        if self.accepted is None:
            return seccomp.NO_OUTCOME
        told = self.nodes - self.left_out
        facts = seccomp.Facts(
            now=now,
            learned=self._all_learned(),
            profiles=self._profiles,
            settled=settled,
            inherited=self._inherited,
            worn=Worn.over(self._worn.values()) if told & self._worn.keys() else None,
        )
        outcome = seccomp.decide(self.accepted.spec, self.status.seccomp, facts)
        self.wanted_profiles, self._audited = outcome.wanted, outcome.audited
        self._paths = tuple(
            (container, kept.status.localhost_profile)
            for container, kept in sorted(self._profiles.items())
            if kept.status.localhost_profile
        )
        return outcome

    @property
    def _capabilities_mode(self) -> CapabilitiesMode:
        asked = self.accepted.spec.capabilities.mode if self.accepted else None
        return asked or CapabilitiesMode.DISABLED

    def _capabilities(self, *, settled: bool) -> CapabilitiesStatus:
        if self._capabilities_mode == CapabilitiesMode.DISABLED:
            return CapabilitiesStatus()
        if not settled:
            return self.status.capabilities
        if self._capabilities_mode == CapabilitiesMode.AUDIT:
            return capabilities.held(self.status.capabilities, self._all_learned(), self._places)
        return capabilities.recommended(self._all_learned(), self._places)

    def _expected(self) -> tuple[capabilities.Expected, ...]:
        """Return beside which capabilities nodes are to tell of any."""
        if self._capabilities_mode != CapabilitiesMode.AUDIT:
            return ()
        return capabilities.expected(self.status.capabilities)

    def _all_learned(self) -> Mapping[str, Sequence[agent_pb2.Learned]]:
        if self._learned is None:
            self._learned = self._learning.listed()
        return self._learned

    def _responding(self, response: Response) -> frozenset[str]:
        """Return the names of the rules with a response."""
        rules = self.accepted.rules if self.accepted else ()
        return frozenset(each.name for each in rules if each.rule.response == response)

    def _enforcing(self) -> dict[str, str]:
        """Return the parts that enforce a rule, each with what is said where it cannot be done."""
        rules = self.accepted.rules if self.accepted and not self.dry else ()
        answers = ((each.name, by_response(each.rule.response)) for each in rules)
        return {
            enforcement.part(name): f"{name} {enforcement.lacking}"
            for name, enforcement in answers
            if enforcement is not None
        }

    def _trouble(self, part: str, said: NodeReport) -> str:
        lacking = self._enforcing().get(part)
        troubled = said.state in (agent_pb2.JOB_STATE_FAILED, agent_pb2.JOB_STATE_UNSUPPORTED)
        if lacking is None or not troubled or said.generation < self.ledger.generation:
            return ""
        return f"{lacking}: {said.reason}: {said.message}"

    def _note(self, node: str, said: NodeReport, told: agent_pb2.PolicyReport) -> bool:
        """Keep what else a node says; return whether that is news."""
        if told.learned:
            self._learning.hear(node, told.learned)
            self._learned = None
        if said.state in (agent_pb2.JOB_STATE_RUNNING, agent_pb2.JOB_STATE_WAITING):
            self._heard.add(node)
        if told.HasField("bound_pods"):
            bound = min(told.bound_pods, said.pods)
            self._worn[node] = Worn(bound, min(told.unprotected_pods, said.pods - bound))
        if said.generation < self.ledger.generation:
            return False
        before = self._problems.pop(node, ())
        rules = self.rules
        problems = tuple(
            RuleProblem(rule=each.rule, message=plain(each.message, LONGEST_MESSAGE))
            for each in told.problems[:MAX_PROBLEMS]
            if each.rule in rules
        )
        if problems:
            self._problems[node] = problems
        return problems != before

    def _node_problems(self) -> tuple[RuleProblem, ...]:
        """Return what nodes cannot judge, each rule once."""
        told: dict[str, RuleProblem] = {}
        for node in sorted(self._problems):
            for each in self._problems[node]:
                message = f"node {node}: {each.message}"
                told.setdefault(each.rule, RuleProblem(rule=each.rule, message=message))
        return tuple(told.values())

    def _judged(self, seen: Resource) -> Accepted | NotAccepted:
        terms = self._terms
        return judged(
            seen, lambda: accept_policy(seen.kind, seen.spec, terms.catalogue, terms.library)
        )


def _of_age(said: NodeReport, report: agent_pb2.JobReport) -> NodeReport:
    """Return what a node said; of an agent that knows no rules, that it cannot run it.

    Such an agent takes a policy for a job, runs its trackers and judges nothing.
    """
    working = said.state in (agent_pb2.JOB_STATE_RUNNING, agent_pb2.JOB_STATE_WAITING)
    if report.HasField("policy") or not working:
        return said
    return replace(
        said,
        state=agent_pb2.JOB_STATE_UNSUPPORTED,
        reason="AgentTooOld",
        message="the agent is older than policies and judges no rule: update it",
    )
