# SPDX-License-Identifier: Apache-2.0
"""What a container runtime tells about its pods and containers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from eunomia_agent.containers.owner import Owner, no_labels


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Sandbox:
    """A pod as its runtime holds it. labels: the pod's, as of its creation.

    problem: why its metadata cannot be used; the other fields but the id are empty then.
    """

    id: str
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    labels: Mapping[str, str] = field(default_factory=no_labels, repr=False)
    problem: str = ""

    @property
    def sandbox(self) -> "Sandbox":
        """The pod that this belongs to: itself."""
        return self

    def owner(self, cgroup_id: int) -> Owner:
        """Return the owner of a cgroup of the pause container."""
        if self.problem:
            return _refused(cgroup_id, self.id, self.problem)
        return Owner(
            cgroup_id,
            "sandbox",
            self.namespace,
            self.pod,
            self.pod_uid,
            container_id=self.id,
            labels=self.labels,
        )

    def pod_owner(self, cgroup_id: int) -> Owner:
        """Return the owner of a cgroup of the pod's that is no container's."""
        return Owner(cgroup_id, "pod", self.namespace, self.pod, self.pod_uid, labels=self.labels)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Container:
    """A container of a pod. problem: why its metadata cannot be used."""

    id: str
    sandbox: Sandbox
    name: str = ""
    problem: str = ""

    def owner(self, cgroup_id: int) -> Owner:
        """Return the owner of a cgroup of the container."""
        if self.problem:
            return _refused(cgroup_id, self.id, self.problem)
        return Owner(
            cgroup_id,
            "container",
            self.sandbox.namespace,
            self.sandbox.pod,
            self.sandbox.pod_uid,
            self.name,
            self.id,
            self.sandbox.labels,
        )


Identity = Container | Sandbox
"""What the id in a cgroup's path stands for."""


def _refused(cgroup_id: int, container_id: str, problem: str) -> Owner:
    reason = f"its metadata has {problem}"
    return Owner(cgroup_id, "unknown", container_id=container_id, reason=reason)


class Runtime(Protocol):
    """Answers by id, for what runs and what has ended. Raises RuntimeUnavailable."""

    async def container(self, container_id: str) -> Container | None:
        """Return a container, or None where there is none of that id yet."""
        ...

    async def sandbox(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox, or None where there is none of that id yet."""
        ...

    async def containers(self) -> list[Container]:
        """Return all containers whose sandbox is there, too."""
        ...

    async def sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes."""
        ...
