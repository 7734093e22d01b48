# SPDX-License-Identifier: Apache-2.0
"""AlertReport: the newest alerts of one policy. Arguments of programs can hold secrets."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from eunomia_api import API_VERSION
from eunomia_api.model import Int64, Time, Told

MAX_ALERTS = 100
MAX_ANCESTORS = 6
MAX_MESSAGE = 512
MAX_EVIDENCE = 2048

DnsName = Annotated[str, Field(max_length=253)]
Comm = Annotated[str, Field(max_length=64)]


class Ancestor(Told):
    """A process above."""

    pid: Int64 = 0
    """As the host numbers it."""
    comm: Comm = ""
    """Its name."""


class ReportedAlert(Told):
    """A rule that was broken, where and by whom."""

    id: Annotated[str, Field(max_length=64)]
    """The same, however often it is told."""
    time: Time
    """When it happened."""
    rule: Annotated[str, Field(max_length=127)]
    """GROUP/NAME of a built-in rule, the name of one of the policy's own, or what agents find out
    themselves: call-refused, capability-refused, profile-missing, alert-flood."""
    severity: Literal["event", "warning", "alert"]
    """How bad it is."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """What the rule says of it."""
    tags: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=16)] = []
    """The rule's tags: MITRE ATT&CK techniques."""
    node: DnsName = ""
    """Name of the node."""
    namespace: DnsName = ""
    """Namespace of the pod. Empty: it was no pod."""
    pod: DnsName = ""
    """Name of the pod."""
    pod_uid: DnsName = ""
    """Its uid."""
    container: DnsName = ""
    """Name of the container."""
    container_id: Annotated[str, Field(max_length=64)] = ""
    """Its id."""
    image: Annotated[str, Field(max_length=512)] = ""
    """Its image."""
    tracker: Annotated[str, Field(max_length=63)] = ""
    """The tracker whose row broke the rule."""
    pid: Int64 = 0
    """The process, as the host numbers it."""
    uid: Int64 = 0
    """Its user, as the host numbers it."""
    comm: Comm = ""
    """Its name."""
    ancestors: Annotated[
        list[Ancestor],
        Field(max_length=MAX_ANCESTORS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """The processes above it, its parent first."""
    evidence: Annotated[str, Field(max_length=MAX_EVIDENCE)] = ""
    """The row, as JSON."""
    count: Int64 = 1
    """How many rows it stands for."""
    response: Annotated[str, Field(max_length=32)] = ""
    """What was done: Killed, Denied, Isolated, Refused (by a seccomp profile, or for lack of a
    capability), or empty."""
    dry_run: bool = False
    """Nothing was done, as the policy, or what it learned, is only tried."""


class AlertReport(Told):
    """The newest alerts of one policy, which has the same name; of a ClusterSecurityPolicy NAME,
    cluster-NAME in the operator's namespace.
    """

    KIND: ClassVar[str] = "AlertReport"
    PLURAL: ClassVar[str] = "alertreports"
    NAMESPACED: ClassVar[bool] = True

    api_version: Literal["eunomia.dev/v1alpha1"] = API_VERSION
    kind: Literal["AlertReport"] = "AlertReport"
    metadata: dict[str, Any]
    alerts: Annotated[
        list[ReportedAlert],
        Field(max_length=MAX_ALERTS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """The newest alerts, newest first."""
    total: Int64 = 0
    """Alerts that came in since observedSince."""
    dropped: Int64 = 0
    """Of these, no more in the list."""
    observed_since: Time | None = None
    """Since when alerts are kept here."""
