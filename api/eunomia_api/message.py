# SPDX-License-Identifier: Apache-2.0
"""Jobs and policies as agents are told of them."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, cast

from eunomia_api import agent_pb2
from eunomia_api.duration import seconds
from eunomia_api.enforcement import Enforcement, by_response
from eunomia_api.param import ParamValue

if TYPE_CHECKING:
    from eunomia_api.acceptance import Spec
    from eunomia_api.budget import Budget
    from eunomia_api.policy_acceptance import Accepted, NamedRule
    from eunomia_api.rule import Rule
    from eunomia_api.selector import LabelSelector
    from eunomia_api.target import ClusterTarget, Target

POLICY_INTERVAL_MS = 10_000
"""Between two readings of what a policy's trackers count in the kernel."""
SPARED = ("eunomia-system", "kube-system")
"""Namespaces in which nothing is enforced: without what runs there, neither the cluster nor this
system goes on."""

_SEVERITIES = {
    "event": agent_pb2.SEVERITY_EVENT,
    "warning": agent_pb2.SEVERITY_WARNING,
    "alert": agent_pb2.SEVERITY_ALERT,
}


def job_message(
    spec: "Spec",
    *,
    uid: str,
    kind: str,
    namespace: str,
    name: str,
    generation: int,
    deadline: float | None,
    namespaces: Collection[str] | None,
) -> agent_pb2.Job:
    """Return a job's message.

    namespace: empty for a ClusterTraceJob. deadline: Unix time in seconds. namespaces: those that
    a ClusterTraceJob's namespaceSelector selects; None for all there ever are.
    """
    return agent_pb2.Job(
        uid=uid,
        kind=kind,
        namespace=namespace,
        name=name,
        generation=generation,
        target=_target(spec.target, namespace, namespaces),
        trackers=[
            agent_pb2.Tracker(
                name=use.name,
                params={name: param_message(value) for name, value in use.params.items()},
                where=use.where,
                sample=use.sample,
            )
            for use in spec.trackers
        ],
        outputs=[output.type.value for output in spec.output],
        budget=_budget(spec.budget),
        deadline_ms=0 if deadline is None else int(deadline * 1000),
        suspended=spec.suspend,
        interval_ms=round(seconds(spec.interval) * 1000),
    )


def param_message(value: ParamValue) -> agent_pb2.Param:
    """Return a value of a param in its form on the wire."""
    if isinstance(value, bool):
        return agent_pb2.Param(boolean=value)
    if isinstance(value, int):
        return agent_pb2.Param(integer=value)
    return agent_pb2.Param(text=value)


def rule_message(rule: "Rule", policy_rule: str = "") -> agent_pb2.Rule:
    """Return a rule's message.

    policy_rule: GROUP/NAME of a built-in rule, which is then its name on the wire, too, so that no
    two rules of a policy have the same.
    """
    return agent_pb2.Rule(
        name=policy_rule or rule.name,
        severity=_SEVERITIES[rule.severity],
        trackers=rule.events,
        when=rule.when,
        exceptions=[
            agent_pb2.RuleException(name=each.name, when=each.when) for each in rule.exceptions
        ],
        count=rule.count,
        within_ms=rule.within_ms,
        distinct=rule.distinct or "",
        for_ms=_milliseconds(rule.for_ or "0s"),
        group_by=rule.group_by,
        deduplicate_ms=_milliseconds(rule.deduplicate),
        message=rule.message,
        tags=rule.tags,
        response=(rule.response or "Report"),
        policy_rule=policy_rule,
    )


def policy_messages(
    accepted: "Accepted",
    *,
    uid: str,
    kind: str,
    namespace: str,
    name: str,
    generation: int,
    namespaces: Collection[str] | None,
    excluded_namespaces: Collection[str] = (),
    audited: Sequence[agent_pb2.AuditedProfile] = (),
    profiles: Sequence[agent_pb2.WornProfile] = (),
    bound: bool = False,
    audited_capabilities: Sequence[agent_pb2.AuditedCapabilities] = (),
) -> list[agent_pb2.Job]:
    """Return the messages of a policy: one that observes, and one for each enforced rule.

    namespace, namespaces: see job_message. excluded_namespaces: where nothing is enforced, beside
    SPARED. audited: profiles whose refusals are to be told. profiles: those of which it is to be
    told how many pods wear them; bound: new pods get them. audited_capabilities: beside which any
    use, and denial, is to be told.

    An enforcing job has one rule, and reaches pods alone. The observing job judges all rules: one
    that a node cannot enforce is reported all the same.
    """
    spec = accepted.spec
    bare = agent_pb2.Job(
        uid=uid,
        kind=kind,
        namespace=namespace,
        name=name,
        generation=generation,
        target=_target(spec.target, namespace, namespaces),
        budget=_budget(spec.budget),
        interval_ms=POLICY_INTERVAL_MS,
        dry_run=spec.mode == "DryRun",
        respond_ms=_milliseconds(spec.response.when_disconnected),
        alert_outputs=[output.type.value for output in spec.output],
    )
    learning = agent_pb2.Learning(
        seccomp=spec.seccomp.mode != "Disabled",
        capabilities=spec.capabilities.mode != "Disabled",
        audited=audited,
        profiles=profiles,
        bound=bound,
        audited_capabilities=audited_capabilities,
    )
    spared = sorted({*SPARED, *excluded_namespaces})
    jobs = [_observing(bare, accepted, learning)]
    for each in [] if bare.dry_run or not bare.target.pods else accepted.rules:
        enforcement = by_response(each.rule.response)
        if enforcement is not None:
            jobs.append(_enforcing(bare, each, enforcement, spared))
    return jobs


def _observing(
    bare: agent_pb2.Job, accepted: "Accepted", learning: agent_pb2.Learning
) -> agent_pb2.Job:
    job, spec = agent_pb2.Job(), accepted.spec
    job.CopyFrom(bare)
    names = sorted({name for each in accepted.rules for name in each.rule.events})
    job.trackers.extend(agent_pb2.Tracker(name=name, sample=1) for name in names)
    job.rules.extend(_named(each) for each in accepted.rules)
    job.outputs.extend(output.type.value for output in spec.output if output.rows)
    job.learning.CopyFrom(learning)
    return job


def _enforcing(
    bare: agent_pb2.Job, named: "NamedRule", enforcement: Enforcement, spared: Sequence[str]
) -> agent_pb2.Job:
    job = agent_pb2.Job()
    job.CopyFrom(bare)
    job.uid += enforcement.part(named.name)
    job.enforcement = enforcement.wire
    job.target.host = False
    job.target.excluded_namespaces.extend(spared)
    job.trackers.extend(agent_pb2.Tracker(name=name, sample=1) for name in named.rule.events)
    job.rules.append(_named(named))
    return job


def _named(each: "NamedRule") -> agent_pb2.Rule:
    return rule_message(each.rule, each.name if each.built_in else "")


def _budget(budget: "Budget") -> agent_pb2.Budget:
    return agent_pb2.Budget(
        events_per_second=budget.events_per_second_per_node,
        memory_bytes=budget.memory_bytes_per_node,
    )


def _milliseconds(duration: str) -> int:
    return round(seconds(duration) * 1000)


def _target(
    target: "Target | ClusterTarget", namespace: str, namespaces: Collection[str] | None
) -> agent_pb2.Target:
    message = agent_pb2.Target(containers=target.containers)
    if target.pod_selector is not None:
        message.pods = True
        message.pod_selector.CopyFrom(_selector(target.pod_selector))
    if namespace:
        message.namespaces.append(namespace)
        return message
    message.host = cast("ClusterTarget", target).host
    if namespaces is None:
        message.all_namespaces = True
    else:
        message.namespaces.extend(sorted(namespaces))
    return message


def _selector(selector: "LabelSelector") -> agent_pb2.LabelSelector:
    return agent_pb2.LabelSelector(
        match_labels=selector.match_labels,
        match_expressions=[
            agent_pb2.Requirement(key=each.key, operator=each.operator.value, values=each.values)
            for each in selector.match_expressions
        ],
    )
