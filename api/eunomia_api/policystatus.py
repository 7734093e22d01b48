# SPDX-License-Identifier: Apache-2.0
"""What came of a policy. Its size does not grow with the number of nodes, pods or alerts."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from eunomia_api.model import Int32, Int64, Time, Told
from eunomia_api.seccomp import Sha256
from eunomia_api.status import Conditions, Failures, NodeCounts, Percent, Totals

MAX_PROBLEMS = 5
MAX_CONTAINERS = 8
MAX_ALERT_CHARACTERS = 256

ContainerName = Annotated[str, Field(max_length=63)]
RuleFullName = Annotated[str, Field(max_length=127)]
MAX_CAPABILITIES = 64
CapabilityName = Annotated[str, Field(max_length=63)]
CapabilityNames = Annotated[list[CapabilityName], Field(max_length=MAX_CAPABILITIES)]
CallName = Annotated[str, Field(max_length=72)]


class RuleProblem(Told):
    """Why a rule is not judged, or not as it was asked for."""

    rule: RuleFullName
    """GROUP/NAME of a built-in rule, the name of one of the policy's own."""
    message: Annotated[str, Field(max_length=1024)]
    """The field, the column or the place in the expression, and what is wrong."""


class RuleCounts(Told):
    """Rules of a policy."""

    total: Int32 = 0
    """Rules that are judged."""
    built_in: Int32 = 0
    """Of these, rules of the library."""
    custom: Int32 = 0
    """Of these, rules of the policy's own."""
    invalid: Int32 = 0
    """Rules that are not judged, or not as they were asked for."""
    problems: Annotated[
        list[RuleProblem],
        Field(max_length=MAX_PROBLEMS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """What is wrong with some of these."""


class AlertCounts(Told):
    """How often rules were broken, by severity, and what was done about it."""

    events: Int64 = 0
    """Of severity event."""
    warnings: Int64 = 0
    """Of severity warning."""
    alerts: Int64 = 0
    """Of severity alert."""
    deduplicated: Int64 = 0
    """Would have been one more, but for the same shortly before."""
    dropped: Int64 = 0
    """Counted, but not told one by one: above a container's rate, or there was no room."""
    killed: Int64 = 0
    """Processes that the kernel killed."""
    denied: Int64 = 0
    """Calls that the kernel refused."""
    isolated: Int64 = 0
    """Pods that were cut off the network."""


class LastAlert(Told):
    """The newest alert."""

    time: Time
    """When the rule was broken."""
    rule: RuleFullName
    """The rule."""
    severity: Annotated[str, Field(max_length=16)]
    """event, warning or alert."""
    message: Annotated[str, Field(max_length=MAX_ALERT_CHARACTERS)] = ""
    """What it says, shortened."""


class LearnedContainer(Told):
    """What was learned of the containers of one name."""

    name: ContainerName
    """Name of the containers."""
    runs: Int32 = 0
    """Runs that were seen, replicas and restarts alike."""
    replicas: Int32 | None = None
    """Different pods that these ran in. Absent: not known."""
    whole_runs: Int32 = 0
    """Of these, seen from their first instruction."""
    calls: Int32 = 0
    """Different system calls that were seen."""
    last_new: Time | None = None
    """When a call was made that none had made before."""
    unseen_percent: Percent | None = None
    """How likely the next call of a run is one that none has made (Good-Turing). Absent: not
    known."""
    base: Annotated[str, Field(max_length=253)] = ""
    """The seccomp profiles that were on while learning, whose refusals cannot have been seen:
    Unconfined, RuntimeDefault, Localhost/PATH below the kubelet's folder, or Filtered where nobody
    tells which."""
    profile: Annotated[str, Field(max_length=253)] = ""
    """The profile's version that is on offer or bound."""
    hash: Sha256 = ""
    """SHA-256 of the profile's file."""


class SeccompStatus(Told):
    """Where the profiles stand."""

    mode: Annotated[str, Field(max_length=16)] = ""
    """The mode that is in force, which may lag behind the one that is asked for."""
    phase: Annotated[str, Field(max_length=32)] = ""
    """Learning, Converged, Distributing, Auditing, Enforcing, or empty."""
    containers: Annotated[
        list[LearnedContainer],
        Field(
            max_length=MAX_CONTAINERS,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = []
    """What was learned, by name of the containers."""
    bound_pods: Int32 = 0
    """Pods whose containers wear the profiles that there are for them."""
    unprotected_pods: Int32 = 0
    """Pods with a container that started without any, though there is one for it."""
    nodes_ready: Int32 = 0
    """Nodes on which the files lie."""
    refusals: Int64 = 0
    """Calls that the newest profile would refuse, or refuses, as far as Audit has seen."""
    drift: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)] = []
    """Some calls that are made and that the bound profile does not allow."""


class PodField(StrEnum):
    """The lists of a pod's spec in which containers are."""

    CONTAINERS = "containers"
    INIT_CONTAINERS = "initContainers"
    EPHEMERAL_CONTAINERS = "ephemeralContainers"


class CapabilityChecks(Told):
    """How often one capability was asked for."""

    name: CapabilityName
    """The capability: CAP_NET_RAW."""
    call: CallName = ""
    """The system call that most often was the first to make the kernel ask. Empty: not known."""
    granted: Int64 = 0
    """Checks that it passed."""
    denied: Int64 = 0
    """Checks that it did not pass."""


class ContainerCapabilities(Told):
    """What the containers of one name have, and what they asked for."""

    name: ContainerName
    """Name of the containers."""
    used: CapabilityNames = []
    """Capabilities that were asked for and granted."""
    denied: CapabilityNames = []
    """Capabilities that were asked for and denied."""
    checks: Annotated[
        list[CapabilityChecks],
        Field(
            max_length=MAX_CAPABILITIES,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = []
    """Of each that was asked for: by which call, and how often it was granted and denied."""
    bounding: CapabilityNames | None = None
    """What they have now, by the word of the container runtime: their bounding set. Absent: not
    known."""
    privileged: bool | None = None
    """Whether one of them is privileged now, and so has all that there are. Absent: not known."""
    add: CapabilityNames = []
    """What the recommended securityContext adds, after dropping ALL."""
    drop: CapabilityNames | None = None
    """What they have now and lose by it. Absent: what they have is not known."""
    patch: Annotated[str, Field(max_length=2048)] = ""
    """The recommended securityContext as a patch of the pod's template, in JSON. Empty while
    podField is, and for ephemeral containers, which no template has."""
    pod_field: Annotated[str, Field(max_length=32)] = ""
    """The list of the pod's spec that has them: containers, initContainers or ephemeralContainers.
    Empty: not known, since none of their pods could be read yet."""


class CapabilitiesStatus(Told):
    """What the containers asked for."""

    containers: Annotated[
        list[ContainerCapabilities],
        Field(
            max_length=MAX_CONTAINERS,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = []
    """By name of the containers."""


class SecurityPolicyStatus(Told):
    """What came of a policy. Its size does not grow with the number of nodes, pods or alerts."""

    conditions: Conditions = []
    """Accepted, Ready, RulesValid, ProfileReady, Converged, Degraded."""
    observed_generation: Int64 = 0
    """The generation of the policy that this status tells of."""
    nodes: NodeCounts = NodeCounts()
    """Nodes by what the policy does there."""
    pods: Int32 = 0
    """Pods that the policy covers now."""
    events: Totals = Totals()
    """Events that the rules read, over all nodes."""
    retired: Totals = Totals()
    """The part of events that comes from nodes that are gone."""
    completeness_percent: Percent | None = None
    """delivered / matched, rounded down. Absent while nothing matched."""
    rules: RuleCounts = RuleCounts()
    """The rules."""
    alerts: AlertCounts = AlertCounts()
    """How often they were broken."""
    retired_alerts: AlertCounts = AlertCounts()
    """The part of alerts that comes from nodes that are gone."""
    last_alert: LastAlert | None = None
    """The newest alert."""
    seccomp: SeccompStatus = SeccompStatus()
    """Where the profiles stand."""
    capabilities: CapabilitiesStatus = CapabilitiesStatus()
    """What the containers asked for."""
    gaps: Int32 = 0
    """Times in which a node saw nothing for a while: an agent or a tracker was restarted."""
    failures: Failures = []
    """The few worst failures, by node."""
