# SPDX-License-Identifier: Apache-2.0
"""Who the events of a cgroup belong to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["container", "sandbox", "pod", "host", "pending", "unknown"]
"""container: a container, in a pod or not, or a cgroup made inside one.
sandbox: the pod's pause container. pod: the pod's own cgroup. host: no container.
pending: the runtime has not said yet. unknown: it never did, and nothing is guessed.
"""

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


def no_labels() -> Mapping[str, str]:
    """Return the empty set of labels, which nobody can add to."""
    return _NO_LABELS


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of one cgroup.

    cgroup_id: in the watched hierarchy. namespace, pod, pod_uid: empty for a container outside of
    pods, as Docker makes it. container_id: 64 hex digits. labels: the pod's as of its creation,
    or the container's where there is no pod; read only. image: as the runtime names it.
    reason: why the owner is unknown, or what is waited for.
    path: of the cgroup, from the root of the hierarchy; empty where it was never told.
    """

    cgroup_id: int
    kind: Kind
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    container: str = ""
    container_id: str = ""
    labels: Mapping[str, str] = field(default_factory=no_labels, hash=False, repr=False)
    reason: str = ""
    image: str = ""
    path: str = field(default="", compare=False)

    @property
    def is_outermost(self) -> bool:
        """Whether it is the container's own cgroup, and none that was made inside."""
        return bool(self.container_id) and self.container_id in self.path.rpartition("/")[2]

    @property
    def short_id(self) -> str:
        """The first 12 digits of the container's id, as tools show it."""
        return self.container_id[:12]
