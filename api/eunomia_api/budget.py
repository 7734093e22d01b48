# SPDX-License-Identifier: Apache-2.0
"""What may be spent on a node, and where the rows go."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from eunomia_api.model import Written


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
