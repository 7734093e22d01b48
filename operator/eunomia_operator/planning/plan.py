# SPDX-License-Identifier: Apache-2.0
"""What each node shall do: jobs, policies, nodes and namespaces in, desired states out. Pure."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from eunomia_api import agent_pb2, message
from eunomia_api.acceptance import Spec
from eunomia_api.policy_acceptance import Accepted
from eunomia_api.selector import LabelSelector
from eunomia_api.target import ClusterTarget, Target
from eunomia_operator.learned.capabilities import Expected
from eunomia_operator.planning.seats import Candidate, Rank, left_out

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


class Planned(Protocol):
    """What nodes are to be told of one object."""

    @property
    def uid(self) -> str:
        """The object's uid."""
        ...

    @property
    def namespace(self) -> str:
        """The object's namespace; empty for a kind of the whole cluster."""
        ...

    @property
    def created(self) -> str:
        """metadata.creationTimestamp."""
        ...

    @property
    def rank(self) -> Rank:
        """How it stands beside others when there is no place for all."""
        ...

    def selected(self, namespaces: Iterable[Namespace]) -> list[str] | None:
        """Return those that its target selects of all namespaces that there are; None: all."""
        ...

    def messages(self, selected: list[str] | None) -> list[agent_pb2.Job]:
        """Return the jobs of which it is made. selected: namespaces, as above."""
        ...


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

    @property
    def rank(self) -> Rank:
        """A suspended job needs no slot."""
        return Rank.RESTING if self.spec.suspend else Rank.TRACE

    def selected(self, namespaces: Iterable[Namespace]) -> list[str] | None:
        """Return the namespaces that its target selects; None for all."""
        return selected(self.spec.target, namespaces)

    def messages(self, selected: list[str] | None) -> list[agent_pb2.Job]:
        """Return the one job."""
        return [job_message(self, selected)]


@dataclass(frozen=True, slots=True)
class PlannedPolicy:
    """A policy that was accepted."""

    uid: str
    kind: str
    namespace: str
    """Empty for a ClusterSecurityPolicy."""
    name: str
    generation: int
    accepted: Accepted
    created: str = ""
    """metadata.creationTimestamp."""
    spared: tuple[str, ...] = ()
    """Namespaces in which nothing is enforced, beside those that are spared anyway."""
    audited: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Containers, and the calls beside which any is to be told of."""
    profiles: tuple[tuple[str, str], ...] = ()
    """Containers, and the profiles of which it is to be told who wears them, by their paths."""
    bound: bool = False
    """Whether new pods get the profiles."""
    expected: tuple[Expected, ...] = ()
    """Capabilities beside which any is to be told of."""

    @property
    def rank(self) -> Rank:
        """A guard goes before what only looks."""
        return Rank.GUARD

    def selected(self, namespaces: Iterable[Namespace]) -> list[str] | None:
        """Return the namespaces that its target selects; None for all."""
        return selected(self.accepted.spec.target, namespaces)

    def messages(self, selected: list[str] | None) -> list[agent_pb2.Job]:
        """Return the job that judges, and one for each rule that the kernel enforces."""
        return message.policy_messages(
            self.accepted,
            uid=self.uid,
            kind=self.kind,
            namespace=self.namespace,
            name=self.name,
            generation=self.generation,
            namespaces=selected,
            excluded_namespaces=self.spared,
            audited=[
                agent_pb2.AuditedProfile(container=container, syscalls=syscalls)
                for container, syscalls in self.audited
            ],
            profiles=[
                agent_pb2.WornProfile(container=container, path=path)
                for container, path in self.profiles
            ],
            bound=self.bound,
            audited_capabilities=[
                agent_pb2.AuditedCapabilities(container=container, used=used, denied=denied)
                for container, used, denied in self.expected
            ],
        )


@dataclass(frozen=True, slots=True)
class Desired:
    """What all nodes shall do."""

    jobs: dict[str, tuple[bytes, ...]]
    """By node that has any: its jobs as serialised `Job` messages."""
    left_out: dict[str, frozenset[str]]
    """By uid of an object: the names of nodes that have no place for it."""


class Placement:
    """Finds the nodes that objects are meant for; those that ask for the same share one answer."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = list(nodes)
        self._found: dict[frozenset[tuple[str, str]], frozenset[str]] = {}

    def nodes_of(self, selector: Labels) -> frozenset[str]:
        """Return the names of the nodes that have all the labels of a nodeSelector."""
        wanted = frozenset(selector.items())
        if wanted not in self._found:
            self._found[wanted] = frozenset(
                node.name
                for node in self._nodes
                if all(node.labels.get(key) == value for key, value in wanted)
            )
        return self._found[wanted]


class Bodies:
    """Jobs as serialised `Job` messages, each made anew only when something about it changed.

    A policy with all rules is 20 KB and takes 2 ms, and any node or namespace may bring a new plan.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[Planned, list[str] | None, tuple[bytes, ...]]] = {}

    def of(self, each: Planned, namespaces: Iterable[Namespace]) -> tuple[bytes, ...]:
        """Return the jobs of one object. namespaces: all that there are."""
        chosen = each.selected(namespaces)
        made = self._made.get(each.uid)
        if made is None or made[:2] != (each, chosen):
            jobs = (job.SerializeToString(deterministic=True) for job in each.messages(chosen))
            made = self._made[each.uid] = each, chosen, tuple(jobs)
        return made[2]

    def keep(self, uids: Container[str]) -> None:
        """Forget the jobs of all other objects."""
        self._made = {uid: made for uid, made in self._made.items() if uid in uids}


def desired_jobs(
    wanted: Iterable[Planned],
    assigned: Mapping[str, frozenset[str]],
    namespaces: Iterable[Namespace],
    made: Bodies | None = None,
) -> Desired:
    """Return what each node shall do.

    assigned: names of nodes by the uid of an object. Nodes with the same jobs share one tuple.
    made: what was made for an earlier plan.
    """
    known, made = list(namespaces), made or Bodies()
    bodies: dict[str, tuple[bytes, ...]] = {}
    candidates: dict[str, Candidate] = {}
    meant: dict[str, list[str]] = {}
    for each in sorted(wanted, key=lambda each: each.uid):
        jobs = bodies[each.uid] = made.of(each, known)
        candidates[each.uid] = Candidate(
            each.uid, each.namespace, each.created, each.rank, sum(map(len, jobs)), len(jobs)
        )
        for node in assigned.get(each.uid, ()):
            meant.setdefault(node, []).append(each.uid)
    made.keep(bodies)
    alike: dict[tuple[str, ...], list[str]] = {}
    for node, uids in meant.items():
        alike.setdefault(tuple(uids), []).append(node)
    desired: dict[str, tuple[bytes, ...]] = {}
    without: dict[str, list[str]] = {}
    for same, nodes in alike.items():
        refused = left_out([candidates[uid] for uid in same])
        whole = tuple(job for uid in same if uid not in refused for job in bodies[uid])
        desired.update(dict.fromkeys(nodes, whole))
        for uid in refused:
            without.setdefault(uid, []).extend(nodes)
    return Desired(desired, {uid: frozenset(nodes) for uid, nodes in without.items()})


def desired_state(generation: int, jobs: Iterable[bytes], files: Iterable[bytes] = ()) -> bytes:
    """Return the serialised message that tells a node all that it shall do.

    files: serialised `SeccompFile` messages.
    """
    state = agent_pb2.DesiredState(
        generation=generation,
        jobs=[agent_pb2.Job.FromString(job) for job in jobs],
        seccomp_files=[agent_pb2.SeccompFile.FromString(file) for file in files],
    )
    return agent_pb2.ToAgent(desired_state=state).SerializeToString(deterministic=True)


def job_message(job: PlannedJob, namespaces: list[str] | None) -> agent_pb2.Job:
    """Return a job as the agents are told of it. namespaces: that it selects; None for all."""
    return message.job_message(
        job.spec,
        uid=job.uid,
        kind=job.kind,
        namespace=job.namespace,
        name=job.name,
        generation=job.generation,
        deadline=job.deadline,
        namespaces=namespaces,
    )


def selected(target: Target | ClusterTarget, namespaces: Iterable[Namespace]) -> list[str] | None:
    """Return the namespaces that the selector of a cluster's kind selects; None for all."""
    if isinstance(target, Target):
        return []
    selector = target.namespace_selector
    if selector is None or selector == LabelSelector():
        return None
    return [each.name for each in namespaces if selector.matches(each.labels)]
