# SPDX-License-Identifier: Apache-2.0
"""What the status of any kind is made of. None of it grows with the number of nodes."""

from typing import Annotated, Literal

from pydantic import Field

from eunomia_api.model import Int32, Int64, Time, Told

MAX_FAILURES = 5


class Condition(Told):
    """`metav1.Condition`, as the API conventions have it."""

    type: Annotated[str, Field(max_length=63)]
    """What it is about, in one CamelCase word."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    observed_generation: Int64 = 0
    """The generation of the object that this was decided on."""
    last_transition_time: Time
    """When status last changed."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why, in one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for people."""


class NodeCounts(Told):
    """Nodes, by what is done there."""

    desired: Int32 = 0
    """Nodes that the nodeSelector picks."""
    running: Int32 = 0
    """Programs are attached."""
    waiting: Int32 = 0
    """Programs are loaded; no pod matches yet."""
    failed: Int32 = 0
    """The trackers could not be started."""
    unsupported: Int32 = 0
    """The kernel or the agent's release lacks what a tracker needs."""
    unreachable: Int32 = 0
    """No agent of the node is connected."""


class Totals(Told):
    """Events since the start. matched = delivered + lost + limited + sampledOut."""

    matched: Int64 = 0
    """Let through by the kernel's filter."""
    delivered: Int64 = 0
    """Accepted by every output."""
    lost: Int64 = 0
    """Matched, but found a buffer full, in the kernel or in the agent."""
    limited: Int64 = 0
    """Above the budget or an output's rate."""
    sampled_out: Int64 = 0
    """Left out by sampling."""
    unclassified: Int64 = 0
    """Seen, but it could not be told whether they were the job's: at most so many more."""


class Failure(Told):
    """What went wrong on one node."""

    node: Annotated[str, Field(max_length=253)]
    """Name of the node."""
    reason: Annotated[str, Field(max_length=128)]
    """Why, in one CamelCase word."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Why, for people."""


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    ),
]
Failures = Annotated[
    list[Failure],
    Field(max_length=MAX_FAILURES, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]
Percent = Annotated[int, Field(ge=0, le=100, json_schema_extra={"format": "int32"})]
