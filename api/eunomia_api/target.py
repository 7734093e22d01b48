# SPDX-License-Identifier: Apache-2.0
"""What is watched: pods, containers, nodes and their own processes."""

from typing import Annotated

from pydantic import Field, model_validator

from eunomia_api.model import Written
from eunomia_api.selector import LabelKey, LabelSelector, LabelValue

MAX_CONTAINERS = 32
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Target(Written):
    """The pods, containers and nodes that are watched."""

    pod_selector: LabelSelector
    """Pods by their labels, as of their creation. {} selects every pod of the namespace."""
    containers: Annotated[list[Name], Field(max_length=MAX_CONTAINERS)] = []
    """Names of the containers to watch in those pods. Empty: all of them."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = {}
    """Labels that a node must have. Empty: all nodes."""


class ClusterTarget(Written):
    """The pods, containers, nodes and host processes that are watched."""

    pod_selector: LabelSelector | None = None
    """Pods by their labels, as of their creation. {} selects every pod; absent selects none."""
    namespace_selector: LabelSelector | None = None
    """Namespaces by their labels. Absent or {}: all of them."""
    containers: Annotated[list[Name], Field(max_length=MAX_CONTAINERS)] = []
    """Names of the containers to watch in those pods. Empty: all of them."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = {}
    """Labels that a node must have. Empty: all nodes."""
    host: bool = False
    """Watch the processes of the node that belong to no container, too."""

    @model_validator(mode="after")
    def _selects_something(self) -> "ClusterTarget":
        if self.pod_selector is None and not self.host:
            raise ValueError("selects nothing: give podSelector ({} for every pod) or host: true")
        return self
