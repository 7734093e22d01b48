# SPDX-License-Identifier: Apache-2.0
"""Who the events of a cgroup belong to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["container", "sandbox", "pod", "host", "pending", "unknown"]
"""container: one of a pod's containers, or a cgroup made inside one.
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

    cgroup_id: of cgroup v2. container_id: 64 hex digits. labels: the pod's, as of its creation;
    read only. reason: why the owner is unknown, or what is waited for.
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

    @property
    def short_id(self) -> str:
        """The first 12 digits of the container's id, as tools show it."""
        return self.container_id[:12]
