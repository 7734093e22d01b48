# SPDX-License-Identifier: Apache-2.0
"""Where the alerts of policies go beside the operator: the agent's log, and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eunomia_agent.errors import OutputUnknown
from eunomia_agent.events.lines import Lines
from eunomia_agent.sinks.file import FileSink
from eunomia_agent.sinks.log import LineWriter, LogSink
from eunomia_agent.wanted import name_of
from eunomia_api import agent_pb2
from eunomia_api.param import shown

if TYPE_CHECKING:
    from eunomia_agent.rules.guard import AlertSink

FILE = "alerts.jsonl"
BESIDE = "_alerts"
"""Behind the policy's name in that of the folder: rows of the same policy push no alerts out."""
MAX_BYTES = 16 << 20
"""Of one file; two rotated ones are kept."""


class _Filed:
    """Appends alerts to jobs/NAMESPACE/POLICY_alerts/alerts.jsonl."""

    name = "file"

    def __init__(self, folder: Path, policy: str) -> None:
        self._sink = FileSink(folder, policy, max_bytes=MAX_BYTES, beside=BESIDE)
        self._closed = False

    @property
    def problem(self) -> str | None:
        return self._sink.problem

    def append(self, line: bytes) -> bool:
        return not self._closed and self._sink.append(FILE, Lines.of([line])) == 1

    def close(self) -> None:
        self._closed = True
        self._sink.close()


@dataclass(frozen=True, slots=True)
class _Opened:
    kinds: Sequence[str]
    sinks: "Sequence[AlertSink]"


class AlertOutputs:
    """The outputs of each policy, which its jobs share. folder: that of all jobs' files."""

    def __init__(self, folder: Path, writer: LineWriter) -> None:
        self._folder = folder
        self._writer = writer
        self._opened: dict[str, _Opened] = {}

    def of(self, job: agent_pb2.Job) -> "Sequence[AlertSink]":
        """Return those of the policy that asks for a job. Raises OutputUnknown."""
        policy, kinds = job.uid.partition("/")[0], list(job.alert_outputs)
        before = self._opened.get(policy)
        if before is None or before.kinds != kinds:
            self.forget(job)
            sinks = [self._open(each, name_of(job)) for each in kinds]
            before = self._opened[policy] = _Opened(kinds, sinks)
        return before.sinks

    def forget(self, job: agent_pb2.Job) -> None:
        """Close those of a policy."""
        opened = self._opened.pop(job.uid.partition("/")[0], None)
        for each in opened.sinks if opened else ():
            each.close()

    def _open(self, kind: str, policy: str) -> "AlertSink":
        match kind:
            case "file":
                return _Filed(self._folder, policy)
            case "log":
                return LogSink(self._writer, policy)
            case _:
                raise OutputUnknown(f"this agent has no output {shown(kind)}; it has file, log")
