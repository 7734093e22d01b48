# SPDX-License-Identifier: Apache-2.0
"""SecurityPolicy and ClusterSecurityPolicy: what a workload may do, and what came of it."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from eunomia_api import API_VERSION
from eunomia_api.budget import Budget, Output, OutputType
from eunomia_api.duration import LONGEST_SECONDS, PATTERN, seconds
from eunomia_api.findings import FINDINGS
from eunomia_api.model import AbsentIsEmpty, Told, Written
from eunomia_api.policystatus import SecurityPolicyStatus
from eunomia_api.rule import Response, Rule, RuleException, Severity
from eunomia_api.seccomp import DNS_NAME, Base, ProfileName, Syscall
from eunomia_api.target import ClusterTarget, Target

MAX_CUSTOM = 32
MAX_EXCEPTIONS = 64

RuleReference = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=127
    ),
]
References = Annotated[list[RuleReference], Field(max_length=128)]


def _within_a_week(text: str) -> str:
    if not 0 <= seconds(text) <= LONGEST_SECONDS:
        raise ValueError(f"{text} is out of bounds: at least 0s, at most 168h")
    return text


Span = Annotated[str, Field(pattern=PATTERN, max_length=32), AfterValidator(_within_a_week)]


class Mode(StrEnum):
    """Whether a policy acts."""

    ENFORCE = "Enforce"
    DRY_RUN = "DryRun"


class AddedException(RuleException):
    """What a built-in rule passes over."""

    rule: RuleReference
    """The rule, as GROUP/NAME."""


class Rules(Written):
    """The rules that are judged."""

    built_in: References = []
    """Rules of the library: whole groups (container-escape), or single ones (GROUP/NAME)."""
    exclude: References = []
    """Built-in rules, or groups, that are left out again."""
    custom: Annotated[
        list[Rule],
        Field(
            max_length=MAX_CUSTOM,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = []
    """Rules of the policy's own."""
    exceptions: Annotated[list[AddedException], Field(max_length=MAX_EXCEPTIONS)] = []
    """Exceptions that are added to built-in rules."""

    @field_validator("custom")
    @classmethod
    def _each_once(cls, rules: list[Rule]) -> list[Rule]:
        names = [rule.name for rule in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each rule may stand once; twice: {', '.join(twice)}")
        taken = sorted(FINDINGS.intersection(names))
        if taken:
            raise ValueError(f"agents tell of this themselves, choose another name: {taken[0]}")
        return rules


class SeccompMode(StrEnum):
    """How far a policy goes with system calls. None is called Off, which YAML takes for false."""

    DISABLED = "Disabled"
    LEARN = "Learn"
    AUDIT = "Audit"
    ENFORCE = "Enforce"


class Convergence(Written):
    """When enough was seen to make a profile of. All of it must hold."""

    min_runs: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Runs of a container that were seen, replicas and restarts alike."""
    min_replicas: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Different pods that these ran in."""
    min_restarts: Annotated[int, Field(ge=0, le=10_000)] = 1
    """Runs that were seen from their first instruction."""
    quiet_period: Span = "10m"
    """How long no call was new, as a Go duration of at most 168h."""
    max_unseen_percent: Annotated[int, Field(ge=0, le=100)] = 1
    """How likely, in percent, the next call of a run is estimated to be one that none has
    made."""


class Seccomp(Written):
    """The system calls that the containers may make."""

    mode: SeccompMode = SeccompMode.DISABLED
    """Learn: record them and make a profile. Audit: tell of calls that the profile would refuse.
    Enforce: bind the profile to new pods of namespaces that opted in. Disabled: none of it."""
    base: Base = Base.NONE
    """What a profile allows beside what was seen: None nothing, RuntimeDefault what container
    runtimes allow by default."""
    base_profile_name: ProfileName | None = None
    """A SeccompProfile, your own or another policy's: what it allows is allowed as well. It is one
    of the policy's namespace, and for a ClusterSecurityPolicy one of the operator's."""
    allow: Annotated[list[Syscall], Field(max_length=512)] = []
    """System calls that are allowed though they were never seen."""
    convergence: Convergence = Convergence()
    """When enough was seen to make a profile of."""
    override_pods: bool = False
    """Bind the profile to containers that name another one themselves, too."""
    force: bool = False
    """Enforce though Audit still sees calls that would be refused."""
    profile: Annotated[str, Field(pattern=DNS_NAME, max_length=253)] | None = None
    """The version of the profile to go back to, and stay with. Absent: the newest."""


class CapabilitiesMode(StrEnum):
    """How far a policy goes with capabilities."""

    DISABLED = "Disabled"
    LEARN = "Learn"
    AUDIT = "Audit"


class Capabilities(Written):
    """The capabilities that the containers ask for."""

    mode: CapabilitiesMode = CapabilitiesMode.DISABLED
    """Learn: record them and recommend the least securityContext. Audit: tell of those that it
    would refuse, too. Disabled: neither."""


class Responses(Written):
    """What is done about a broken rule that does not say so itself."""

    event: Response = Response.REPORT
    """For rules of severity event."""
    warning: Response = Response.REPORT
    """For rules of severity warning."""
    alert: Response = Response.REPORT
    """For rules of severity alert. Report: tell. Kill: the kernel kills the process, at the event.
    Deny: the kernel refuses the call, on nodes with BPF LSM. Isolate: label the pod and cut it off
    the network."""
    max_pods_per_minute: Annotated[int, Field(ge=1, le=1000)] = 1
    """Isolate no more pods than this in a minute."""
    when_disconnected: Span = "24h"
    """How long an agent goes on killing and denying without word from the operator, as a Go
    duration of at most 168h. Reporting goes on. 0s: it never stops."""

    def to(self, severity: Severity) -> Response:
        """Return what is done about a rule of a severity."""
        by_severity = {
            Severity.EVENT: self.event,
            Severity.WARNING: self.warning,
            Severity.ALERT: self.alert,
        }
        return by_severity[severity]


class PolicyOutput(Output):
    """One place to which a policy's alerts go."""

    type: OutputType = OutputType.LOG
    """log: the agent's standard output, at most 1000 lines a second. file: a bounded and rotated
    file a policy, in the agent's folder on the node."""
    rows: bool = False
    """Write all rows that the rules read there as well, broken or not."""


class PolicyBudget(Budget):
    """What a policy may cost a node. Changing it restarts the trackers, which shows as a gap."""

    events_per_second_per_node: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    """Events a second and node, shared evenly by the policy's trackers and containers there. What
    comes above is counted as limited."""


class _Spec(Written):
    mode: Mode = Mode.ENFORCE
    """Enforce: judge, report and respond. DryRun: judge and report, respond to nothing."""
    rules: Rules = Rules()
    """The rules that are judged."""
    seccomp: Seccomp = Seccomp()
    """The system calls that the containers may make."""
    capabilities: Capabilities = Capabilities()
    """The capabilities that the containers ask for."""
    response: Responses = Responses()
    """What is done about a broken rule that does not say so itself."""
    budget: PolicyBudget = PolicyBudget()
    """What the policy may cost a node."""
    output: Annotated[
        list[PolicyOutput],
        Field(
            max_length=2,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = []
    """Where alerts go beside the AlertReport: to each agent's log, or to its disk. Absent:
    nowhere."""


class SecurityPolicySpec(_Spec):
    """What the pods of the policy's own namespace may do."""

    target: Target
    """What is watched. Immutable."""


class ClusterSecurityPolicySpec(_Spec):
    """What pods of any namespace, and the nodes themselves, may do."""

    target: ClusterTarget
    """What is watched. Immutable."""


PolicySpec = SecurityPolicySpec | ClusterSecurityPolicySpec


class SecurityPolicy(Told):
    """Says or learns what pods of the policy's own namespace may do, and tells what breaks it."""

    KIND: ClassVar[str] = "SecurityPolicy"
    PLURAL: ClassVar[str] = "securitypolicies"
    NAMESPACED: ClassVar[bool] = True

    api_version: Literal["eunomia.dev/v1alpha1"] = API_VERSION
    kind: Literal["SecurityPolicy"] = "SecurityPolicy"
    metadata: dict[str, Any]
    spec: SecurityPolicySpec
    """What the containers may do, and what is done about the rest."""
    status: Annotated[SecurityPolicyStatus, AbsentIsEmpty] = SecurityPolicyStatus()
    """What came of it."""


class ClusterSecurityPolicy(Told):
    """Says or learns what pods of any namespace, and nodes, may do, and tells what breaks it."""

    KIND: ClassVar[str] = "ClusterSecurityPolicy"
    PLURAL: ClassVar[str] = "clustersecuritypolicies"
    NAMESPACED: ClassVar[bool] = False

    api_version: Literal["eunomia.dev/v1alpha1"] = API_VERSION
    kind: Literal["ClusterSecurityPolicy"] = "ClusterSecurityPolicy"
    metadata: dict[str, Any]
    spec: ClusterSecurityPolicySpec
    """What the containers may do, and what is done about the rest."""
    status: Annotated[SecurityPolicyStatus, AbsentIsEmpty] = SecurityPolicyStatus()
    """What came of it."""
