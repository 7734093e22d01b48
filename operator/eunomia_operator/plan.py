# SPDX-License-Identifier: Apache-2.0
"""What each node shall do: jobs, nodes and namespaces in, desired states out. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eunomia_api import agent_pb2, message
from eunomia_api.acceptance import Spec
from eunomia_api.selector import LabelSelector
from eunomia_api.tracejob import ClusterTraceJobSpec
from eunomia_operator.seats import Candidate, left_out

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Node:
    """A Node object, as far as it matters."""

    name: str
    uid: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace object, as far as it matters."""

    name: str
    labels: Labels
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that was accepted and is not over."""

    uid: str
    kind: str
    namespace: str
    """Empty for a ClusterTraceJob."""
    name: str
    generation: int
    spec: Spec
    deadline: float | None
    """Unix time in seconds."""
    created: str = ""
    """metadata.creationTimestamp."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What all nodes shall do."""

    jobs: dict[str, tuple[bytes, ...]]
    """By node that has any: its jobs as serialised `Job` messages."""
    left_out: dict[str, frozenset[str]]
    """By uid of a job: the names of nodes that have no place for it."""


class Placement:
    """Finds the nodes that jobs are meant for; those that ask for the same share one answer."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = list(nodes)
        self._found: dict[frozenset[tuple[str, str]], frozenset[str]] = {}

    def nodes_of(self, spec: Spec) -> frozenset[str]:
        """Return the names of the nodes that have all the labels of a job's nodeSelector."""
        wanted = frozenset(spec.target.node_selector.items())
        if wanted not in self._found:
            self._found[wanted] = frozenset(
                node.name
                for node in self._nodes
                if all(node.labels.get(key) == value for key, value in wanted)
            )
        return self._found[wanted]


def desired_jobs(
    jobs: Iterable[PlannedJob],
    assigned: Mapping[str, frozenset[str]],
    namespaces: Iterable[Namespace],
) -> Desired:
    """Return what each node shall do.

    assigned: names of nodes by the uid of a job. Nodes with the same jobs share one tuple.
    """
    known = list(namespaces)
    bodies: dict[str, bytes] = {}
    candidates: dict[str, Candidate] = {}
    meant: dict[str, list[str]] = {}
    for job in sorted(jobs, key=lambda job: job.uid):
        body = job_message(job, known).SerializeToString(deterministic=True)
        bodies[job.uid] = body
        candidates[job.uid] = Candidate(
            job.uid, job.namespace, job.created, job.spec.suspend, len(body)
        )
        for node in assigned.get(job.uid, ()):
            meant.setdefault(node, []).append(job.uid)
    alike: dict[tuple[str, ...], list[str]] = {}
    for node, uids in meant.items():
        alike.setdefault(tuple(uids), []).append(node)
    desired: dict[str, tuple[bytes, ...]] = {}
    without: dict[str, list[str]] = {}
    for same, nodes in alike.items():
        refused = left_out([candidates[uid] for uid in same])
        whole = tuple(bodies[uid] for uid in same if uid not in refused)
        desired.update(dict.fromkeys(nodes, whole))
        for uid in refused:
            without.setdefault(uid, []).extend(nodes)
    return Desired(desired, {uid: frozenset(nodes) for uid, nodes in without.items()})


def desired_state(generation: int, jobs: Iterable[bytes]) -> bytes:
    """Return the serialised message that tells a node all that it shall do."""
    state = agent_pb2.DesiredState(
        generation=generation, jobs=[agent_pb2.Job.FromString(job) for job in jobs]
    )
    return agent_pb2.ToAgent(desired_state=state).SerializeToString(deterministic=True)


def job_message(job: PlannedJob, namespaces: Iterable[Namespace]) -> agent_pb2.Job:
    """Return a job as the agents are told of it."""
    return message.job_message(
        job.spec,
        uid=job.uid,
        kind=job.kind,
        namespace=job.namespace,
        name=job.name,
        generation=job.generation,
        deadline=job.deadline,
        namespaces=_selected(job.spec, namespaces),
    )


def _selected(spec: Spec, namespaces: Iterable[Namespace]) -> list[str] | None:
    """Return the namespaces that a ClusterTraceJob's selector selects; None for all."""
    if not isinstance(spec, ClusterTraceJobSpec):
        return []
    selector = spec.target.namespace_selector
    if selector is None or selector == LabelSelector():
        return None
    return [each.name for each in namespaces if selector.matches(each.labels)]
