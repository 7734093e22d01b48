# SPDX-License-Identifier: Apache-2.0
"""SeccompProfile: the system calls that containers of one name may make, as learned or written.

The file on the nodes is that of the OCI runtime specification, config-linux.md, "Seccomp".
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from eunomia_api import API_VERSION
from eunomia_api.model import AbsentIsEmpty, Int32, Int64, Time, Told, Written
from eunomia_api.selector import LabelSelector
from eunomia_api.status import Conditions

MAX_SYSCALLS = 1024
MAX_VERSIONS = 5

Syscall = Annotated[str, Field(pattern=r"^_?[a-z][a-z0-9_]*$", max_length=63)]
Syscalls = Annotated[list[Syscall], Field(max_length=MAX_SYSCALLS)]
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
ProfileName = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]
Version = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=32)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", max_length=64)]
Architecture = Annotated[str, Field(pattern=r"^SCMP_ARCH_[A-Z0-9_]+$", max_length=32)]


class Base(StrEnum):
    """What a profile allows beside its own list."""

    NONE = "None"
    RUNTIME_DEFAULT = "RuntimeDefault"


class Provenance(Written):
    """What a profile was made of."""

    pods: Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=16)] = []
    """Names of some of the pods."""
    runs: Int32 = 0
    """Runs of the containers that were seen."""
    since: Annotated[Time, Field(max_length=32)] | None = None
    """When the first of them was seen."""
    until: Annotated[Time, Field(max_length=32)] | None = None
    """When the last of them was seen."""


class ProfileBinding(Written):
    """The pods that a profile is bound to as they are made."""

    pod_selector: LabelSelector
    """Pods by their labels."""
    namespace_selector: LabelSelector | None = None
    """Namespaces by their labels; {}: all of them. Absent: the profile's own. It counts in the
    operator's namespace alone: a profile elsewhere is bound to pods of its own namespace."""
    override_pods: bool = False
    """Bind it to containers that name another profile themselves, too."""


class SeccompProfileSpec(Written):
    """The system calls that are allowed."""

    container: Annotated[str, Field(max_length=63)] = ""
    """Name of the containers that it is for."""
    binding: ProfileBinding | None = None
    """The pods that it is bound to as they are made. Absent: none."""
    base: Base = Base.NONE
    """What is allowed beside syscalls: None nothing, RuntimeDefault what container runtimes allow
    by default."""
    base_profile_name: ProfileName | None = None
    """Another SeccompProfile of this namespace: what it allows is allowed as well. Where a policy
    made this profile, it is what that one allowed then."""
    base_syscalls: Syscalls = []
    """What the profile of that name allowed when a policy's version was made. Leave it out where
    you write the profile yourself: it then goes with its base."""
    base_profile_base: Base | None = None
    """What that one allowed beside its calls; it is part of base. Leave it out as well. Absent in
    what a policy made: an older operator made it and did not say."""
    default_action: Literal["SCMP_ACT_ERRNO", "SCMP_ACT_LOG"] = "SCMP_ACT_ERRNO"
    """What becomes of any other call: SCMP_ACT_ERRNO it is refused, SCMP_ACT_LOG it is logged."""
    architectures: Annotated[list[Architecture], Field(min_length=1, max_length=8)]
    """The ABIs that it is for, such as SCMP_ARCH_X86_64. Who calls by another one is killed."""
    syscalls: Syscalls = []
    """Names of the calls that are allowed."""
    version: Version
    """A new one for each change, v1 the first. The file's name stays."""
    provenance: Provenance = Provenance()
    """What it was made of."""


class ProfileVersion(Told):
    """One version of a profile, beside the one before it, with all that is needed to go back."""

    version: Version
    """Its name."""
    sha256: Sha256 = ""
    """SHA-256 of its file."""
    created: Time | None = None
    """When it was made."""
    added: Annotated[list[Syscall], Field(max_length=MAX_SYSCALLS)] = []
    """Calls that the version before did not allow; all of them, for the first one."""
    removed: Annotated[list[Syscall], Field(max_length=MAX_SYSCALLS)] = []
    """Calls that only the version before allowed."""
    syscalls: Syscalls = []
    """All calls that it allows beside its bases."""
    base: Base | None = None
    """What it allows beside syscalls. Absent: an older operator made it and did not say."""
    architectures: Annotated[list[Architecture], Field(max_length=8)] = []
    """The ABIs that it is for. Empty: an older operator made it and did not say."""
    base_profile_name: Annotated[str, Field(max_length=253)] = ""
    """The SeccompProfile whose calls it allows as well, if it named one."""
    base_syscalls: Syscalls = []
    """What that one allowed."""
    base_profile_base: Base | None = None
    """What that one allowed beside its calls. Absent: an older operator made it and did not say."""
    provenance: Provenance | None = None
    """What it was made of. Absent: an older operator made it and did not say."""


class SeccompProfileStatus(Told):
    """Where the file of a profile lies."""

    conditions: Conditions = []
    """Ready: on every schedulable node."""
    observed_generation: Int64 = 0
    """The generation of the profile that this status tells of."""
    localhost_profile: Annotated[str, Field(max_length=512)] = ""
    """The file below the kubelet's seccomp folder, for a pod's localhostProfile."""
    sha256: Sha256 = ""
    """SHA-256 of the file."""
    nodes_ready: Int32 = 0
    """Nodes on which it lies, whole."""
    nodes: Int32 = 0
    """Nodes on which it has to lie."""
    history: Annotated[
        list[ProfileVersion],
        Field(max_length=MAX_VERSIONS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """The versions, newest first."""


class SeccompProfile(Told):
    """The system calls that containers of one name may make."""

    KIND: ClassVar[str] = "SeccompProfile"
    PLURAL: ClassVar[str] = "seccompprofiles"
    NAMESPACED: ClassVar[bool] = True

    api_version: Literal["eunomia.dev/v1alpha1"] = API_VERSION
    kind: Literal["SeccompProfile"] = "SeccompProfile"
    metadata: dict[str, Any]
    spec: SeccompProfileSpec
    """The system calls that are allowed."""
    status: Annotated[SeccompProfileStatus, AbsentIsEmpty] = SeccompProfileStatus()
    """Where the file of the profile lies."""
