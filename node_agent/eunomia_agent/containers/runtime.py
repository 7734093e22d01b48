# SPDX-License-Identifier: Apache-2.0
"""What container runtimes tell about their pods and containers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.owner import Owner, no_labels
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnsupported


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Sandbox:
    """A pod as its runtime holds it. labels: the pod's, as of its creation.

    Without an id: what stands for the pod of a container that is in none; labels: the container's.
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
    """A container. image: as it was asked for. problem: why its metadata cannot be used."""

    id: str
    sandbox: Sandbox
    name: str = ""
    image: str = ""
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
            image=self.image,
        )


Identity = Container | Sandbox
"""What the id in a cgroup's path stands for."""


def _refused(cgroup_id: int, container_id: str, problem: str) -> Owner:
    reason = f"its metadata has {problem}"
    return Owner(cgroup_id, "unknown", container_id=container_id, reason=reason)


class Runtime(Protocol):
    """Answers by id, for what runs and what has ended. Raises RuntimeUnavailable."""

    async def identity(self, identity: str) -> Identity | None:
        """Return what has an id, or None where there is nothing of that id yet.

        A container whose sandbox is not there is not there yet, either.
        """
        ...

    async def identities(self) -> list[Identity]:
        """Return all containers and sandboxes."""
        ...

    async def containers(self) -> list[Container]:
        """Return all containers."""
        ...

    async def confinement(self, container_id: str) -> Confinement | None:
        """Return what a container of a pod may do.

        None: it is not there, or the runtime does not tell which seccomp profile it wears.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class Runtimes:
    """Several runtimes of one host, in the order in which they are asked: the first that knows."""

    def __init__(self, runtimes: Sequence[Runtime]) -> None:
        self._runtimes = runtimes

    async def identity(self, identity: str) -> Identity | None:
        """Return what one of them knows. Raises RuntimeUnavailable if none does and one is silent.

        One that does not speak our language, as containerd without its CRI plugin on a host of
        Docker's, is none that is silent, as long as another one answers.
        """
        silent: list[RuntimeUnavailable] = []
        for runtime in self._runtimes:
            try:
                found = await runtime.identity(identity)
            except RuntimeUnavailable as error:
                silent.append(error)
            else:
                if found:
                    return found
        self._judge(silent)
        return None

    async def identities(self) -> list[Identity]:
        """Return what any of them knows. Raises RuntimeUnavailable if none answers."""
        found: dict[str, Identity] = {}
        silent: list[RuntimeUnavailable] = []
        for runtime in self._runtimes:
            try:
                for each in await runtime.identities():
                    found.setdefault(each.id, each)
            except RuntimeUnavailable as error:
                silent.append(error)
        if len(silent) == len(self._runtimes):
            self._judge(silent)
        return list(found.values())

    async def containers(self) -> list[Container]:
        """Return the containers that any of them knows. Raises RuntimeUnavailable likewise."""
        return [each for each in await self.identities() if isinstance(each, Container)]

    async def confinement(self, container_id: str) -> Confinement | None:
        """Return what one of them tells. Raises RuntimeUnavailable as `identity` does."""
        silent: list[RuntimeUnavailable] = []
        for runtime in self._runtimes:
            try:
                found = await runtime.confinement(container_id)
            except RuntimeUnavailable as error:
                silent.append(error)
            else:
                if found is not None:
                    return found
        self._judge(silent)
        return None

    async def close(self) -> None:
        """Let go of all connections."""
        for runtime in self._runtimes:
            await runtime.close()

    def _judge(self, silent: Sequence[RuntimeUnavailable]) -> None:
        grave = [error for error in silent if not isinstance(error, RuntimeUnsupported)]
        if grave:
            raise grave[0]
        if silent and len(silent) == len(self._runtimes):
            raise silent[0]
