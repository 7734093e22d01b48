from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Enforcement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENFORCEMENT_NONE: _ClassVar[Enforcement]
    ENFORCEMENT_KILL: _ClassVar[Enforcement]
    ENFORCEMENT_DENY: _ClassVar[Enforcement]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_EVENT: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_ALERT: _ClassVar[Severity]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_WAITING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUSPENDED: _ClassVar[JobState]
    JOB_STATE_FINISHED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_UNSUPPORTED: _ClassVar[JobState]
ENFORCEMENT_NONE: Enforcement
ENFORCEMENT_KILL: Enforcement
ENFORCEMENT_DENY: Enforcement
SEVERITY_UNSPECIFIED: Severity
SEVERITY_EVENT: Severity
SEVERITY_WARNING: Severity
SEVERITY_ALERT: Severity
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_WAITING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUSPENDED: JobState
JOB_STATE_FINISHED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_UNSUPPORTED: JobState

class FromAgent(_message.Message):
    __slots__ = ("hello", "token", "acknowledgement", "report", "alerts")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    token: Token
    acknowledgement: Acknowledgement
    report: Report
    alerts: Alerts
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., acknowledgement: _Optional[_Union[Acknowledgement, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., alerts: _Optional[_Union[Alerts, _Mapping]] = ...) -> None: ...

class ToAgent(_message.Message):
    __slots__ = ("welcome", "desired_state", "alerts_taken")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    ALERTS_TAKEN_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    desired_state: DesiredState
    alerts_taken: AlertsTaken
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., desired_state: _Optional[_Union[DesiredState, _Mapping]] = ..., alerts_taken: _Optional[_Union[AlertsTaken, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("generation", "jobs", "seccomp_files")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    SECCOMP_FILES_FIELD_NUMBER: _ClassVar[int]
    generation: int
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    seccomp_files: _containers.RepeatedCompositeFieldContainer[SeccompFile]
    def __init__(self, generation: _Optional[int] = ..., jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., seccomp_files: _Optional[_Iterable[_Union[SeccompFile, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("uid", "kind", "namespace", "name", "generation", "target", "trackers", "outputs", "budget", "deadline_ms", "suspended", "interval_ms", "rules", "dry_run", "learning", "respond_ms", "enforcement", "alert_outputs")
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
    RULES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    RESPOND_MS_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    ALERT_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
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
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    dry_run: bool
    learning: Learning
    respond_ms: int
    enforcement: Enforcement
    alert_outputs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, uid: _Optional[str] = ..., kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., generation: _Optional[int] = ..., target: _Optional[_Union[Target, _Mapping]] = ..., trackers: _Optional[_Iterable[_Union[Tracker, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., deadline_ms: _Optional[int] = ..., suspended: _Optional[bool] = ..., interval_ms: _Optional[int] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., dry_run: _Optional[bool] = ..., learning: _Optional[_Union[Learning, _Mapping]] = ..., respond_ms: _Optional[int] = ..., enforcement: _Optional[_Union[Enforcement, str]] = ..., alert_outputs: _Optional[_Iterable[str]] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("name", "severity", "trackers", "when", "exceptions", "count", "within_ms", "distinct", "for_ms", "group_by", "deduplicate_ms", "message", "tags", "response", "policy_rule")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    TRACKERS_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    EXCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_FIELD_NUMBER: _ClassVar[int]
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATE_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    POLICY_RULE_FIELD_NUMBER: _ClassVar[int]
    name: str
    severity: Severity
    trackers: _containers.RepeatedScalarFieldContainer[str]
    when: str
    exceptions: _containers.RepeatedCompositeFieldContainer[RuleException]
    count: int
    within_ms: int
    distinct: str
    for_ms: int
    group_by: _containers.RepeatedScalarFieldContainer[str]
    deduplicate_ms: int
    message: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    response: str
    policy_rule: str
    def __init__(self, name: _Optional[str] = ..., severity: _Optional[_Union[Severity, str]] = ..., trackers: _Optional[_Iterable[str]] = ..., when: _Optional[str] = ..., exceptions: _Optional[_Iterable[_Union[RuleException, _Mapping]]] = ..., count: _Optional[int] = ..., within_ms: _Optional[int] = ..., distinct: _Optional[str] = ..., for_ms: _Optional[int] = ..., group_by: _Optional[_Iterable[str]] = ..., deduplicate_ms: _Optional[int] = ..., message: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., response: _Optional[str] = ..., policy_rule: _Optional[str] = ...) -> None: ...

class RuleException(_message.Message):
    __slots__ = ("name", "when")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    when: str
    def __init__(self, name: _Optional[str] = ..., when: _Optional[str] = ...) -> None: ...

class Learning(_message.Message):
    __slots__ = ("seccomp", "capabilities", "audited", "profiles", "bound", "audited_capabilities")
    SECCOMP_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    AUDITED_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    AUDITED_CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    seccomp: bool
    capabilities: bool
    audited: _containers.RepeatedCompositeFieldContainer[AuditedProfile]
    profiles: _containers.RepeatedCompositeFieldContainer[WornProfile]
    bound: bool
    audited_capabilities: _containers.RepeatedCompositeFieldContainer[AuditedCapabilities]
    def __init__(self, seccomp: _Optional[bool] = ..., capabilities: _Optional[bool] = ..., audited: _Optional[_Iterable[_Union[AuditedProfile, _Mapping]]] = ..., profiles: _Optional[_Iterable[_Union[WornProfile, _Mapping]]] = ..., bound: _Optional[bool] = ..., audited_capabilities: _Optional[_Iterable[_Union[AuditedCapabilities, _Mapping]]] = ...) -> None: ...

class WornProfile(_message.Message):
    __slots__ = ("container", "path")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    container: str
    path: str
    def __init__(self, container: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class AuditedProfile(_message.Message):
    __slots__ = ("container", "syscalls")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    SYSCALLS_FIELD_NUMBER: _ClassVar[int]
    container: str
    syscalls: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container: _Optional[str] = ..., syscalls: _Optional[_Iterable[str]] = ...) -> None: ...

class AuditedCapabilities(_message.Message):
    __slots__ = ("container", "used", "denied")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    container: str
    used: _containers.RepeatedScalarFieldContainer[str]
    denied: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container: _Optional[str] = ..., used: _Optional[_Iterable[str]] = ..., denied: _Optional[_Iterable[str]] = ...) -> None: ...

class SeccompFile(_message.Message):
    __slots__ = ("path", "content", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    content: bytes
    sha256: str
    def __init__(self, path: _Optional[str] = ..., content: _Optional[bytes] = ..., sha256: _Optional[str] = ...) -> None: ...

class SeccompFileReport(_message.Message):
    __slots__ = ("path", "sha256", "problem")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    path: str
    sha256: str
    problem: str
    def __init__(self, path: _Optional[str] = ..., sha256: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("pods", "pod_selector", "all_namespaces", "namespaces", "containers", "host", "everything", "pod_names", "container_ids", "cgroups", "pids", "children", "excluded_namespaces")
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
    EXCLUDED_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
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
    excluded_namespaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pods: _Optional[bool] = ..., pod_selector: _Optional[_Union[LabelSelector, _Mapping]] = ..., all_namespaces: _Optional[bool] = ..., namespaces: _Optional[_Iterable[str]] = ..., containers: _Optional[_Iterable[str]] = ..., host: _Optional[bool] = ..., everything: _Optional[bool] = ..., pod_names: _Optional[_Iterable[str]] = ..., container_ids: _Optional[_Iterable[str]] = ..., cgroups: _Optional[_Iterable[str]] = ..., pids: _Optional[_Iterable[int]] = ..., children: _Optional[bool] = ..., excluded_namespaces: _Optional[_Iterable[str]] = ...) -> None: ...

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
    __slots__ = ("node", "jobs", "seccomp_files", "has_seccomp_files")
    NODE_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    SECCOMP_FILES_FIELD_NUMBER: _ClassVar[int]
    HAS_SECCOMP_FILES_FIELD_NUMBER: _ClassVar[int]
    node: str
    jobs: _containers.RepeatedCompositeFieldContainer[JobReport]
    seccomp_files: _containers.RepeatedCompositeFieldContainer[SeccompFileReport]
    has_seccomp_files: bool
    def __init__(self, node: _Optional[str] = ..., jobs: _Optional[_Iterable[_Union[JobReport, _Mapping]]] = ..., seccomp_files: _Optional[_Iterable[_Union[SeccompFileReport, _Mapping]]] = ..., has_seccomp_files: _Optional[bool] = ...) -> None: ...

class JobReport(_message.Message):
    __slots__ = ("uid", "generation", "state", "reason", "message", "pods", "totals", "gaps", "degraded", "policy")
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    uid: str
    generation: int
    state: JobState
    reason: str
    message: str
    pods: int
    totals: Totals
    gaps: int
    degraded: str
    policy: PolicyReport
    def __init__(self, uid: _Optional[str] = ..., generation: _Optional[int] = ..., state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., pods: _Optional[int] = ..., totals: _Optional[_Union[Totals, _Mapping]] = ..., gaps: _Optional[int] = ..., degraded: _Optional[str] = ..., policy: _Optional[_Union[PolicyReport, _Mapping]] = ...) -> None: ...

class PolicyReport(_message.Message):
    __slots__ = ("events", "warnings", "alerts", "deduplicated", "dropped", "killed", "problems", "learned", "bound_pods", "denied", "unprotected_pods")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    KILLED_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    LEARNED_FIELD_NUMBER: _ClassVar[int]
    BOUND_PODS_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    UNPROTECTED_PODS_FIELD_NUMBER: _ClassVar[int]
    events: int
    warnings: int
    alerts: int
    deduplicated: int
    dropped: int
    killed: int
    problems: _containers.RepeatedCompositeFieldContainer[RuleProblem]
    learned: _containers.RepeatedCompositeFieldContainer[Learned]
    bound_pods: int
    denied: int
    unprotected_pods: int
    def __init__(self, events: _Optional[int] = ..., warnings: _Optional[int] = ..., alerts: _Optional[int] = ..., deduplicated: _Optional[int] = ..., dropped: _Optional[int] = ..., killed: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[RuleProblem, _Mapping]]] = ..., learned: _Optional[_Iterable[_Union[Learned, _Mapping]]] = ..., bound_pods: _Optional[int] = ..., denied: _Optional[int] = ..., unprotected_pods: _Optional[int] = ...) -> None: ...

class RuleProblem(_message.Message):
    __slots__ = ("rule", "message")
    RULE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    message: str
    def __init__(self, rule: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Learned(_message.Message):
    __slots__ = ("container", "runs", "whole_runs", "calls", "compat_calls", "runtime_calls", "since_ms", "last_new_ms", "base", "capabilities", "refusals", "image", "architecture", "pods", "given", "replicas", "last_pod")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    WHOLE_RUNS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    COMPAT_CALLS_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_CALLS_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_NEW_MS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    LAST_POD_FIELD_NUMBER: _ClassVar[int]
    container: str
    runs: int
    whole_runs: int
    calls: _containers.RepeatedCompositeFieldContainer[CallCount]
    compat_calls: _containers.RepeatedCompositeFieldContainer[CallCount]
    runtime_calls: _containers.RepeatedCompositeFieldContainer[CallCount]
    since_ms: int
    last_new_ms: int
    base: str
    capabilities: _containers.RepeatedCompositeFieldContainer[CapabilityCount]
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    image: str
    architecture: str
    pods: _containers.RepeatedScalarFieldContainer[str]
    given: Given
    replicas: int
    last_pod: Pod
    def __init__(self, container: _Optional[str] = ..., runs: _Optional[int] = ..., whole_runs: _Optional[int] = ..., calls: _Optional[_Iterable[_Union[CallCount, _Mapping]]] = ..., compat_calls: _Optional[_Iterable[_Union[CallCount, _Mapping]]] = ..., runtime_calls: _Optional[_Iterable[_Union[CallCount, _Mapping]]] = ..., since_ms: _Optional[int] = ..., last_new_ms: _Optional[int] = ..., base: _Optional[str] = ..., capabilities: _Optional[_Iterable[_Union[CapabilityCount, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., image: _Optional[str] = ..., architecture: _Optional[str] = ..., pods: _Optional[_Iterable[str]] = ..., given: _Optional[_Union[Given, _Mapping]] = ..., replicas: _Optional[int] = ..., last_pod: _Optional[_Union[Pod, _Mapping]] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Given(_message.Message):
    __slots__ = ("capabilities", "privileged", "until_ms")
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    PRIVILEGED_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    privileged: bool
    until_ms: int
    def __init__(self, capabilities: _Optional[_Iterable[str]] = ..., privileged: _Optional[bool] = ..., until_ms: _Optional[int] = ...) -> None: ...

class CallCount(_message.Message):
    __slots__ = ("name", "runs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    runs: int
    def __init__(self, name: _Optional[str] = ..., runs: _Optional[int] = ...) -> None: ...

class CapabilityCount(_message.Message):
    __slots__ = ("name", "granted", "denied", "call", "runs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    granted: int
    denied: int
    call: str
    runs: int
    def __init__(self, name: _Optional[str] = ..., granted: _Optional[int] = ..., denied: _Optional[int] = ..., call: _Optional[str] = ..., runs: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("call", "count", "comm", "enforced")
    CALL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    call: str
    count: int
    comm: str
    enforced: bool
    def __init__(self, call: _Optional[str] = ..., count: _Optional[int] = ..., comm: _Optional[str] = ..., enforced: _Optional[bool] = ...) -> None: ...

class Alert(_message.Message):
    __slots__ = ("id", "sequence", "policy_uid", "rule", "severity", "time_ns", "message", "tracker", "namespace", "pod", "pod_uid", "container", "container_id", "image", "pid", "uid", "comm", "ancestors", "evidence", "count", "tags", "response", "dry_run")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    POLICY_UID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACKER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    ANCESTORS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    sequence: int
    policy_uid: str
    rule: str
    severity: Severity
    time_ns: int
    message: str
    tracker: str
    namespace: str
    pod: str
    pod_uid: str
    container: str
    container_id: str
    image: str
    pid: int
    uid: int
    comm: str
    ancestors: _containers.RepeatedCompositeFieldContainer[Ancestor]
    evidence: str
    count: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    response: str
    dry_run: bool
    def __init__(self, id: _Optional[str] = ..., sequence: _Optional[int] = ..., policy_uid: _Optional[str] = ..., rule: _Optional[str] = ..., severity: _Optional[_Union[Severity, str]] = ..., time_ns: _Optional[int] = ..., message: _Optional[str] = ..., tracker: _Optional[str] = ..., namespace: _Optional[str] = ..., pod: _Optional[str] = ..., pod_uid: _Optional[str] = ..., container: _Optional[str] = ..., container_id: _Optional[str] = ..., image: _Optional[str] = ..., pid: _Optional[int] = ..., uid: _Optional[int] = ..., comm: _Optional[str] = ..., ancestors: _Optional[_Iterable[_Union[Ancestor, _Mapping]]] = ..., evidence: _Optional[str] = ..., count: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ..., response: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Ancestor(_message.Message):
    __slots__ = ("pid", "comm")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    pid: int
    comm: str
    def __init__(self, pid: _Optional[int] = ..., comm: _Optional[str] = ...) -> None: ...

class Alerts(_message.Message):
    __slots__ = ("alerts",)
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    alerts: _containers.RepeatedCompositeFieldContainer[Alert]
    def __init__(self, alerts: _Optional[_Iterable[_Union[Alert, _Mapping]]] = ...) -> None: ...

class AlertsTaken(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

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
