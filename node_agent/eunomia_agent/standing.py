# SPDX-License-Identifier: Apache-2.0
"""Where all jobs of the node stand at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.instance import Instance
from eunomia_api import agent_pb2


@dataclass(frozen=True, slots=True)
class Standing:
    """Where all jobs stand. Jobs go by their uid."""

    totals: dict[str, JobTotals] = field(default_factory=dict[str, JobTotals])
    reports: Mapping[str, agent_pb2.JobReport] = field(
        default_factory=dict[str, agent_pb2.JobReport]
    )
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """"namespace/name", or "name" of a ClusterTraceJob."""
    instances: Sequence[Instance] = ()
    next_deadline: float | None = None
    """Unix time of the next deadline, in seconds."""
    next_reading: float | None = None
    """When a table is to be read next, in seconds of the monotonic clock."""
    to_retry: bool = False
    """Whether a job could not be started, for a cause that may pass."""
    running: bool = False
    """Whether any job runs: while none does, the cgroups need not be watched."""
    problem: str | None = None
    """What keeps owners from being known, as far as it is looked at."""
    learned: Mapping[str, Any] | None = None
    """All that was learned for policies, as JSON has it; None: nothing new was since the start."""
    starts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Starts of each tracker so far."""
