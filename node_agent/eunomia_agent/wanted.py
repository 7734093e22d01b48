# SPDX-License-Identifier: Apache-2.0
"""A job as it came over the wire, in this package's own terms."""

from collections.abc import Mapping

from eunomia_agent.containers.target import Target
from eunomia_api import agent_pb2
from eunomia_api.labels import Requirement, Selector


def name_of(wanted: agent_pb2.Job) -> str:
    """Return namespace/name, or the name alone of a ClusterTraceJob."""
    return f"{wanted.namespace}/{wanted.name}" if wanted.namespace else wanted.name


def is_policy(wanted: agent_pb2.Job) -> bool:
    """Tell whether a job is what a policy asks of a node."""
    return bool(wanted.rules) or bool(wanted.enforcement) or wanted.HasField("learning")


def target_of(wanted: agent_pb2.Target) -> Target:
    """Return a target from its form on the wire."""
    selector = Selector(
        dict(wanted.pod_selector.match_labels),
        [
            Requirement(each.key, each.operator, list(each.values))
            for each in wanted.pod_selector.match_expressions
        ],
    )
    return Target(
        namespaces=frozenset(wanted.namespaces),
        all_namespaces=wanted.all_namespaces,
        pod_selector=selector if wanted.pods else None,
        containers=frozenset(wanted.containers),
        host=wanted.host,
        everything=wanted.everything,
        pod_names=frozenset(wanted.pod_names),
        container_ids=frozenset(wanted.container_ids),
        cgroups=frozenset(wanted.cgroups),
        excluded_namespaces=frozenset(wanted.excluded_namespaces),
    )


def params_of(tracker: agent_pb2.Tracker) -> Mapping[str, bool | int | str]:
    """Return a tracker's params from their form on the wire."""
    values: dict[str, bool | int | str] = {}
    for name, param in tracker.params.items():
        which = param.WhichOneof("value")
        if which is not None:
            values[name] = getattr(param, which)
    return values
