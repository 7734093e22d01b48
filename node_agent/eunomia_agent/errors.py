# SPDX-License-Identifier: Apache-2.0
"""Everything that the agent raises on purpose. Each message can be shown to a person as it is."""


class AgentError(Exception):
    """The root of the agent's errors."""


class SettingsError(AgentError):
    """A setting is missing or cannot be read."""


class TrackerError(AgentError):
    """A tracker cannot be run; `reason` is one CamelCase word for conditions."""

    reason = "TrackerFailed"


class JobInvalid(TrackerError):
    """A job is none that could run: no operator sends such a job."""

    reason = "InvalidJob"


class ParamInvalid(TrackerError):
    """A param is not the tracker's, or its value is out of bounds."""

    reason = "InvalidParam"


class TrackerUnsupported(TrackerError):
    """This kernel lacks what the tracker needs."""

    reason = "KernelLacksHook"


class ConditionInvalid(TrackerError):
    """A job's `where` is no condition on the tracker's columns."""

    reason = "InvalidWhere"


class NotInKernel(TrackerError):
    """What a job enforces is not the kernel's to decide; `brief` says why in few words."""

    def __init__(self, message: str, brief: str) -> None:
        super().__init__(message)
        self.brief = brief


class KillNotInKernel(NotInKernel):
    """A job kills on what the kernel cannot decide, or on events that may be about others."""

    reason = "KillNotInKernel"


class DenyNotInKernel(NotInKernel):
    """A job denies on what the kernel cannot decide, or what no program of ours can refuse."""

    reason = "DenyNotInKernel"


class DenyUnsupported(TrackerUnsupported):
    """This kernel cannot refuse what a job denies: it lacks a hook, or BPF's part in security."""

    reason = "DenyUnsupported"


class CgroupUnknown(TrackerError):
    """It cannot be told which cgroup is the agent's own."""

    reason = "CgroupUnknown"


class SampleInvalid(TrackerError):
    """A job wants one event in so many of a tracker that gives none."""

    reason = "InvalidSample"


class TrackerUnknown(TrackerUnsupported):
    """This release of the agent has no tracker of that name."""

    reason = "UnknownTracker"


class OutputUnknown(TrackerUnsupported):
    """This release of the agent has no output of that type."""

    reason = "UnknownOutput"


class NoMemoryLeft(TrackerError):
    """The node's budget for buffers is used up."""

    reason = "NoMemoryLeft"


class TooManyJobs(TrackerError):
    """All job slots of this node are taken."""

    reason = "TooManyJobs"


class StateError(AgentError):
    """The agent's folder on the node cannot be used."""


class RuntimeUnavailable(AgentError):
    """The container runtime did not answer; it may, later."""


class RuntimeUnreadable(RuntimeUnavailable):
    """What the container runtime answered is no message, or holds text that is not UTF-8."""


class RuntimeUnsupported(RuntimeUnavailable):
    """What listens on the container runtime's socket does not speak CRI version 1."""


class ContainerAbsent(RuntimeUnavailable):
    """The container runtime knows no container of that id."""


class ContainerUnknown(AgentError):
    """A person named a container or pod that is not there, or more than one."""
