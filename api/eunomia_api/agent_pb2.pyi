from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_WAITING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUSPENDED: _ClassVar[JobState]
    JOB_STATE_FINISHED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_UNSUPPORTED: _ClassVar[JobState]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_WAITING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUSPENDED: JobState
JOB_STATE_FINISHED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_UNSUPPORTED: JobState

class FromAgent(_message.Message):
    __slots__ = ("hello", "token", "acknowledgement", "report")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    token: Token
    acknowledgement: Acknowledgement
    report: Report
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., acknowledgement: _Optional[_Union[Acknowledgement, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class ToAgent(_message.Message):
    __slots__ = ("welcome", "desired_state")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    desired_state: DesiredState
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., desired_state: _Optional[_Union[DesiredState, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "agent_version", "kernel_release", "catalogue_hash", "features", "trackers")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_HASH_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TRACKERS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    agent_version: str
    kernel_release: str
    catalogue_hash: str
    features: _containers.RepeatedScalarFieldContainer[str]
    trackers: _containers.RepeatedCompositeFieldContainer[TrackerSupport]
    def __init__(self, protocol: _Optional[int] = ..., agent_version: _Optional[str] = ..., kernel_release: _Optional[str] = ..., catalogue_hash: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., trackers: _Optional[_Iterable[_Union[TrackerSupport, _Mapping]]] = ...) -> None: ...

class TrackerSupport(_message.Message):
    __slots__ = ("name", "missing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    missing: str
    def __init__(self, name: _Optional[str] = ..., missing: _Optional[str] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "operator_version", "node", "node_uid", "report_interval_ms")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    NODE_UID_FIELD_NUMBER: _ClassVar[int]
    REPORT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    operator_version: str
    node: str
    node_uid: str
    report_interval_ms: int
    def __init__(self, protocol: _Optional[int] = ..., operator_version: _Optional[str] = ..., node: _Optional[str] = ..., node_uid: _Optional[str] = ..., report_interval_ms: _Optional[int] = ...) -> None: ...

class DesiredState(_message.Message):
    __slots__ = ("generation", "jobs")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, generation: _Optional[int] = ..., jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("uid", "kind", "namespace", "name", "generation", "target", "trackers", "outputs", "budget", "deadline_ms", "suspended", "interval_ms")
    UID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TRACKERS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    SUSPENDED_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    kind: str
    namespace: str
    name: str
    generation: int
    target: Target
    trackers: _containers.RepeatedCompositeFieldContainer[Tracker]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    budget: Budget
    deadline_ms: int
    suspended: bool
    interval_ms: int
    def __init__(self, uid: _Optional[str] = ..., kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., generation: _Optional[int] = ..., target: _Optional[_Union[Target, _Mapping]] = ..., trackers: _Optional[_Iterable[_Union[Tracker, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., deadline_ms: _Optional[int] = ..., suspended: _Optional[bool] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("pods", "pod_selector", "all_namespaces", "namespaces", "containers", "host", "everything", "pod_names", "container_ids", "cgroups", "pids", "children")
    PODS_FIELD_NUMBER: _ClassVar[int]
    POD_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    ALL_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    POD_NAMES_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_IDS_FIELD_NUMBER: _ClassVar[int]
    CGROUPS_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    pods: bool
    pod_selector: LabelSelector
    all_namespaces: bool
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    containers: _containers.RepeatedScalarFieldContainer[str]
    host: bool
    everything: bool
    pod_names: _containers.RepeatedScalarFieldContainer[str]
    container_ids: _containers.RepeatedScalarFieldContainer[str]
    cgroups: _containers.RepeatedScalarFieldContainer[str]
    pids: _containers.RepeatedScalarFieldContainer[int]
    children: bool
    def __init__(self, pods: _Optional[bool] = ..., pod_selector: _Optional[_Union[LabelSelector, _Mapping]] = ..., all_namespaces: _Optional[bool] = ..., namespaces: _Optional[_Iterable[str]] = ..., containers: _Optional[_Iterable[str]] = ..., host: _Optional[bool] = ..., everything: _Optional[bool] = ..., pod_names: _Optional[_Iterable[str]] = ..., container_ids: _Optional[_Iterable[str]] = ..., cgroups: _Optional[_Iterable[str]] = ..., pids: _Optional[_Iterable[int]] = ..., children: _Optional[bool] = ...) -> None: ...

class LabelSelector(_message.Message):
    __slots__ = ("match_labels", "match_expressions")
    class MatchLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MATCH_LABELS_FIELD_NUMBER: _ClassVar[int]
    MATCH_EXPRESSIONS_FIELD_NUMBER: _ClassVar[int]
    match_labels: _containers.ScalarMap[str, str]
    match_expressions: _containers.RepeatedCompositeFieldContainer[Requirement]
    def __init__(self, match_labels: _Optional[_Mapping[str, str]] = ..., match_expressions: _Optional[_Iterable[_Union[Requirement, _Mapping]]] = ...) -> None: ...

class Requirement(_message.Message):
    __slots__ = ("key", "operator", "values")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    key: str
    operator: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key: _Optional[str] = ..., operator: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class Tracker(_message.Message):
    __slots__ = ("name", "params", "where", "sample")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Param
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Param, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    params: _containers.MessageMap[str, Param]
    where: str
    sample: int
    def __init__(self, name: _Optional[str] = ..., params: _Optional[_Mapping[str, Param]] = ..., where: _Optional[str] = ..., sample: _Optional[int] = ...) -> None: ...

class Param(_message.Message):
    __slots__ = ("boolean", "integer", "text")
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    boolean: bool
    integer: int
    text: str
    def __init__(self, boolean: _Optional[bool] = ..., integer: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("events_per_second", "memory_bytes")
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    events_per_second: int
    memory_bytes: int
    def __init__(self, events_per_second: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("node", "jobs")
    NODE_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    node: str
    jobs: _containers.RepeatedCompositeFieldContainer[JobReport]
    def __init__(self, node: _Optional[str] = ..., jobs: _Optional[_Iterable[_Union[JobReport, _Mapping]]] = ...) -> None: ...

class JobReport(_message.Message):
    __slots__ = ("uid", "generation", "state", "reason", "message", "pods", "totals", "gaps", "degraded")
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    uid: str
    generation: int
    state: JobState
    reason: str
    message: str
    pods: int
    totals: Totals
    gaps: int
    degraded: str
    def __init__(self, uid: _Optional[str] = ..., generation: _Optional[int] = ..., state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., pods: _Optional[int] = ..., totals: _Optional[_Union[Totals, _Mapping]] = ..., gaps: _Optional[int] = ..., degraded: _Optional[str] = ...) -> None: ...

class Totals(_message.Message):
    __slots__ = ("matched", "delivered", "lost_kernel", "lost_agent", "limited", "sampled_out", "unclassified")
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    LOST_KERNEL_FIELD_NUMBER: _ClassVar[int]
    LOST_AGENT_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_OUT_FIELD_NUMBER: _ClassVar[int]
    UNCLASSIFIED_FIELD_NUMBER: _ClassVar[int]
    matched: int
    delivered: int
    lost_kernel: int
    lost_agent: int
    limited: int
    sampled_out: int
    unclassified: int
    def __init__(self, matched: _Optional[int] = ..., delivered: _Optional[int] = ..., lost_kernel: _Optional[int] = ..., lost_agent: _Optional[int] = ..., limited: _Optional[int] = ..., sampled_out: _Optional[int] = ..., unclassified: _Optional[int] = ...) -> None: ...
