# SPDX-License-Identifier: Apache-2.0
"""A job as agents are told of it."""

from collections.abc import Collection
from typing import TYPE_CHECKING, cast

from eunomia_api import agent_pb2
from eunomia_api.duration import seconds
from eunomia_api.param import ParamValue

if TYPE_CHECKING:
    from eunomia_api.acceptance import Spec
    from eunomia_api.selector import LabelSelector
    from eunomia_api.tracejob import ClusterTarget


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
        target=_target(spec, namespace, namespaces),
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
        budget=agent_pb2.Budget(
            events_per_second=spec.budget.events_per_second_per_node,
            memory_bytes=spec.budget.memory_bytes_per_node,
        ),
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


def _target(spec: "Spec", namespace: str, namespaces: Collection[str] | None) -> agent_pb2.Target:
    message = agent_pb2.Target(containers=spec.target.containers)
    if spec.target.pod_selector is not None:
        message.pods = True
        message.pod_selector.CopyFrom(_selector(spec.target.pod_selector))
    if namespace:
        message.namespaces.append(namespace)
        return message
    message.host = cast("ClusterTarget", spec.target).host
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
