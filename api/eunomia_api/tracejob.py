# SPDX-License-Identifier: Apache-2.0
"""TraceJob and ClusterTraceJob: what to trace, where, how long, and what came of it."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from eunomia_api import API_VERSION
from eunomia_api.budget import Budget, Output, OutputType
from eunomia_api.duration import LONGEST_SECONDS, PATTERN, seconds
from eunomia_api.model import AbsentIsEmpty, Int32, Int64, Time, Told, Written
from eunomia_api.status import (
    MAX_FAILURES,
    Condition,
    Conditions,
    Failure,
    Failures,
    NodeCounts,
    Percent,
    Totals,
)
from eunomia_api.target import MAX_CONTAINERS, ClusterTarget, Name, Target
from eunomia_api.where import MAX_CHARACTERS

__all__ = [
    "MAX_CONTAINERS",
    "MAX_FAILURES",
    "MAX_TRACKERS",
    "Budget",
    "ClusterTarget",
    "ClusterTraceJob",
    "ClusterTraceJobSpec",
    "Condition",
    "Failure",
    "Name",
    "NodeCounts",
    "Output",
    "OutputType",
    "ParamValue",
    "Phase",
    "Target",
    "Totals",
    "TraceJob",
    "TraceJobSpec",
    "TraceJobStatus",
    "TrackerUse",
]

MAX_TRACKERS = 16
LONGEST_INTERVAL_SECONDS = 600
ParamValue = bool | int | str


class TrackerUse(Written):
    """One tracker of the catalogue, with its params."""

    name: Name
    """Name of the tracker, such as process or opensnoop."""
    params: Annotated[
        dict[Annotated[str, Field(max_length=63)], ParamValue],
        Field(
            max_length=32,
            # A param is a boolean, a whole number or a string, which no structural schema can say:
            # the operator checks each against the tracker's own description.
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = {}
    """Params of the tracker. Changing them restarts the tracker, which shows as a gap."""
    where: Annotated[str, Field(max_length=MAX_CHARACTERS)] = ""
    """Only rows for which this is true: CEL over the tracker's columns and namespace, pod,
    pod_uid, container, container_id, image, node and labels, as in: error == "EACCES" &&
    path.startsWith("/etc/") && labels["app"] == "web".
    Empty: all rows. Changing it restarts the tracker, which shows as a gap."""
    sample: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Keep one event in so many, chosen at random; the others are counted as sampledOut. What a
    tracker adds up in the kernel is always counted in full: 1 alone is allowed for a tracker that
    gives no events. Changing it restarts the tracker, which shows as a gap."""


class _Spec(Written):
    trackers: Annotated[
        list[TrackerUse],
        Field(
            min_length=1,
            max_length=MAX_TRACKERS,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ]
    """The trackers to run, each once."""
    duration: Annotated[str, Field(pattern=PATTERN, max_length=32)] | None = None
    """How long to trace, as a Go duration (90s, 15m, 1h30m) of at most 168h. Absent: until the
    job is deleted."""
    interval: Annotated[str, Field(pattern=PATTERN, max_length=32)] = "10s"
    """How often what trackers count in the kernel is read, as a Go duration from 1s to 10m: a row
    tells of so long a time. Changing it restarts such trackers, which shows as a gap."""
    suspend: bool = False
    """Detach all programs and keep the counts. Resuming starts the clock of duration anew."""
    ttl_seconds_after_finished: (
        Annotated[int, Field(ge=0, le=2**31 - 1, json_schema_extra={"format": "int32"})] | None
    ) = None
    """Delete the job so many seconds after it is Complete or Failed. Absent: keep it."""
    output: Annotated[
        list[Output],
        Field(
            min_length=1,
            max_length=2,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = [Output()]
    """Where the rows go."""
    budget: Budget = Budget()
    """What the job may cost a node."""

    @field_validator("duration")
    @classmethod
    def _duration_in_bounds(cls, text: str | None) -> str | None:
        if text is not None and not 0 < seconds(text) <= LONGEST_SECONDS:
            raise ValueError(f"{text} is out of bounds: more than 0s, at most 168h")
        return text

    @field_validator("interval")
    @classmethod
    def _interval_in_bounds(cls, text: str) -> str:
        if not 1 <= seconds(text) <= LONGEST_INTERVAL_SECONDS:
            raise ValueError(f"{text} is out of bounds: at least 1s, at most 10m")
        return text

    @field_validator("trackers")
    @classmethod
    def _trackers_once(cls, trackers: list[TrackerUse]) -> list[TrackerUse]:
        names = [tracker.name for tracker in trackers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each tracker may stand once; twice: {', '.join(twice)}")
        return trackers


class TraceJobSpec(_Spec):
    """What to trace in the pods of the job's own namespace."""

    target: Target
    """What is watched. Immutable."""


class ClusterTraceJobSpec(_Spec):
    """What to trace in pods of any namespace, and on the nodes themselves."""

    target: ClusterTarget
    """What is watched. Immutable."""


class Phase(StrEnum):
    """Where a job stands, in one word. Programs should read the conditions."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


class TraceJobStatus(Told):
    """What came of a job. Its size does not grow with the number of nodes."""

    phase: Phase | None = None
    """Pending, Running, Suspended, Complete or Failed."""
    conditions: Conditions = []
    """Accepted, Running, Complete, Failed, Degraded."""
    observed_generation: Int64 = 0
    """The generation of the job that this status tells of."""
    trackers: Annotated[str, Field(max_length=1200)] = ""
    """Names of the trackers, for the column of that name."""
    start_time: Time | None = None
    """When the clock of duration was started."""
    deadline: Time | None = None
    """When the job will be over."""
    completion_time: Time | None = None
    """When it was over."""
    nodes: NodeCounts = NodeCounts()
    """Nodes by what the job does there."""
    pods: Int32 = 0
    """Pods that the job covers now, or covered when it ended."""
    events: Totals = Totals()
    """Events, over all nodes."""
    retired: Totals = Totals()
    """The part of events that comes from nodes that are gone."""
    completeness_percent: Percent | None = None
    """delivered / matched, rounded down. Absent while nothing matched."""
    gaps: Int32 = 0
    """Times in which a node saw nothing for a while: an agent or a tracker was restarted."""
    failures: Failures = []
    """The few worst failures, by node."""


class TraceJob(Told):
    """Traces pods of the job's own namespace with eBPF programs, for a while or until deleted."""

    KIND: ClassVar[str] = "TraceJob"
    PLURAL: ClassVar[str] = "tracejobs"
    NAMESPACED: ClassVar[bool] = True

    api_version: Literal["eunomia.dev/v1alpha1"] = API_VERSION
    kind: Literal["TraceJob"] = "TraceJob"
    metadata: dict[str, Any]
    spec: TraceJobSpec
    """What to trace, where and how long."""
    status: Annotated[TraceJobStatus, AbsentIsEmpty] = TraceJobStatus()
    """What came of it."""


class ClusterTraceJob(Told):
    """Traces pods of any namespace, and nodes themselves, for a while or until deleted."""

    KIND: ClassVar[str] = "ClusterTraceJob"
    PLURAL: ClassVar[str] = "clustertracejobs"
    NAMESPACED: ClassVar[bool] = False

    api_version: Literal["eunomia.dev/v1alpha1"] = API_VERSION
    kind: Literal["ClusterTraceJob"] = "ClusterTraceJob"
    metadata: dict[str, Any]
    spec: ClusterTraceJobSpec
    """What to trace, where and how long."""
    status: Annotated[TraceJobStatus, AbsentIsEmpty] = TraceJobStatus()
    """What came of it."""
