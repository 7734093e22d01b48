# SPDX-License-Identifier: Apache-2.0
"""TraceJob and ClusterTraceJob: what to trace, where, how long, and what came of it."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from eunomia_api import API_VERSION
from eunomia_api.duration import LONGEST_SECONDS, PATTERN, seconds
from eunomia_api.model import AbsentIsEmpty, Int32, Int64, Time, Told, Written
from eunomia_api.selector import LabelKey, LabelSelector, LabelValue
from eunomia_api.where import MAX_CHARACTERS

MAX_TRACKERS = 16
MAX_CONTAINERS = 32
LONGEST_INTERVAL_SECONDS = 600
ParamValue = bool | int | str
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
    container, container_id, image and node, as in: error == "EACCES" && path.startsWith("/etc/").
    Empty: all rows. Changing it restarts the tracker, which shows as a gap."""
    sample: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Keep one event in so many, chosen at random; the others are counted as sampledOut. What a
    tracker adds up in the kernel is always counted in full: 1 alone is allowed for a tracker that
    gives no events. Changing it restarts the tracker, which shows as a gap."""


class OutputType(StrEnum):
    """Kinds of output."""

    FILE = "file"
    LOG = "log"


class Output(Written):
    """One place to which the rows of a job go."""

    type: OutputType = OutputType.LOG
    """log: the agent's standard output, at most 1000 rows a second. file: a bounded and rotated
    file a container, in the agent's folder on the node."""


class Budget(Written):
    """What a job may cost a node. Changing it restarts the trackers, which shows as a gap."""

    events_per_second_per_node: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Events a second and node, shared evenly by the job's trackers and containers there. What
    comes above is counted as limited."""
    memory_bytes_per_node: Annotated[
        int, Field(ge=65_536, le=1 << 30, json_schema_extra={"format": "int64"})
    ] = 8 * 1024 * 1024
    """Memory for buffers on each node, in bytes, shared evenly by the job's trackers. A smaller
    buffer loses events sooner; they are counted as lost."""


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


class Condition(Told):
    """`metav1.Condition`, as the API conventions have it."""

    type: Annotated[str, Field(max_length=63)]
    """Accepted, Running, Complete, Failed or Degraded."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    observed_generation: Int64 = 0
    """The generation of the job that this was decided on."""
    last_transition_time: Time
    """When status last changed."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why, in one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for people."""


class NodeCounts(Told):
    """Nodes of a job, by what it does there."""

    desired: Int32 = 0
    """Nodes that the job's nodeSelector picks."""
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
    """Events of a job since it started. matched = delivered + lost + limited + sampledOut."""

    matched: Int64 = 0
    """Let through by the kernel's filter for this job."""
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


MAX_FAILURES = 5


class TraceJobStatus(Told):
    """What came of a job. Its size does not grow with the number of nodes."""

    phase: Phase | None = None
    """Pending, Running, Suspended, Complete or Failed."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = []
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
    completeness_percent: (
        Annotated[int, Field(ge=0, le=100, json_schema_extra={"format": "int32"})] | None
    ) = None
    """delivered / matched, rounded down. Absent while nothing matched."""
    gaps: Int32 = 0
    """Times in which a node saw nothing for a while: an agent or a tracker was restarted."""
    failures: Annotated[
        list[Failure],
        Field(max_length=MAX_FAILURES, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
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
