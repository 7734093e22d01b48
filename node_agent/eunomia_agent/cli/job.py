# SPDX-License-Identifier: Apache-2.0
"""What a command line asks for, as the job that an operator would send."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eunomia_agent.cli.errors import CommandError
from eunomia_api import agent_pb2
from eunomia_api.message import param_message
from eunomia_api.param import ParamValue

NAME = "local"
LONGEST_COMM = 15
"""TASK_COMM_LEN of include/linux/sched.h, without the NUL."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Use:
    """A tracker, as somebody wants to use it. where: CEL over its columns. sample: one in so many.

    params: those that differ from the default.
    """

    tracker: str
    params: Mapping[str, ParamValue]
    where: str = ""
    sample: int = 0


def job(
    uses: Sequence[Use], target: agent_pb2.Target, *, buffer: int, interval: float, name: str = NAME
) -> agent_pb2.Job:
    """Return a job without a budget of events.

    buffer: bytes in the kernel for each tracker's results.
    interval: seconds between two readings of what is counted in the kernel.
    """
    return agent_pb2.Job(
        uid=f"{name}:{','.join(use.tracker for use in uses)}",
        kind="ClusterTraceJob",
        name=name,
        generation=1,
        target=target,
        trackers=[
            agent_pb2.Tracker(
                name=use.tracker,
                params={key: param_message(value) for key, value in use.params.items()},
                where=use.where,
                sample=use.sample,
            )
            for use in uses
        ],
        budget=agent_pb2.Budget(memory_bytes=len(uses) * 2 * buffer),
        interval_ms=round(interval * 1000),
    )


def condition(where: str = "", *, uid: int | None = None, comm: str | None = None) -> str:
    """Return one condition, in CEL, of all that a row has to be. Raises CommandError."""
    if comm is not None and len(comm.encode()) > LONGEST_COMM:
        raise CommandError(
            f"--comm: the kernel keeps {LONGEST_COMM} bytes of a thread's name;"
            f" {comm[:40]!r} is longer"
        )
    parts = []
    if uid is not None:
        parts.append(f"uid == {uid}")
    if comm is not None:
        parts.append(f"comm == {json.dumps(comm, ensure_ascii=False)}")
    if where:
        parts.append(f"({where})" if parts else where)
    return " && ".join(parts)
