# SPDX-License-Identifier: Apache-2.0
"""Alerts as JSON lines, on standard output or in a folder."""

from eunomia_agent.cli.files import Files
from eunomia_agent.cli.writer import Writer
from eunomia_agent.rules.line import as_json
from eunomia_api import agent_pb2

FILE = "alerts.jsonl"


class Printed:
    """An outlet that writes alerts to standard output as they come."""

    def __init__(self, writer: Writer, node: str) -> None:
        self._writer = writer
        self._node = node

    def put(self, alert: agent_pb2.Alert) -> bool:
        """Write an alert; False where nobody takes it."""
        line = as_json(alert, self._node) + b"\n"
        return self._writer.write(line) == len(line)


class Filed:
    """An outlet that appends alerts to a file of a folder, which is rotated."""

    def __init__(self, files: Files, node: str) -> None:
        self._files = files
        self._node = node

    def put(self, alert: agent_pb2.Alert) -> bool:
        """Append an alert; False where the disk takes no more."""
        return self._files.append(FILE, as_json(alert, self._node))


def counts(report: agent_pb2.PolicyReport) -> str:
    """Return in words what came of rules."""
    numbers = ((report.alerts, "alert"), (report.warnings, "warning"), (report.events, "event"))
    told = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in numbers)
    more = [(report.deduplicated, "of the same in the time before"), (report.dropped, "not told")]
    rest = "".join(f", {number} {what}" for number, what in more if number)
    return told + rest
