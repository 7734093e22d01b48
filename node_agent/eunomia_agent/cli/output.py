# SPDX-License-Identifier: Apache-2.0
"""Where the rows of a command go, and in which form."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from eunomia_agent.cli.catalogue import tracker
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.files import Files, check_folder
from eunomia_agent.cli.formats import Csv, Json
from eunomia_agent.cli.options import Options
from eunomia_agent.cli.stdout import Format, StdoutSink
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.table import Table
from eunomia_agent.cli.writer import Writer
from eunomia_agent.sinks.sink import Sink
from eunomia_api import agent_pb2

if TYPE_CHECKING:
    from eunomia_agent.cli.top import Top


class Output:
    """The sinks of a command. containers: tells, once it runs, whether there are containers."""

    def __init__(
        self,
        options: Options,
        trackers: Sequence[str],
        stop: Stop,
        *,
        containers: Callable[[], bool],
    ) -> None:
        """Prepare. Raises CommandError where the options do not fit together."""
        self._options = options
        self._trackers = trackers
        self._writer = Writer(1, stop)
        self._containers = containers
        self._sinks: list[Sink] = []
        self._top: Top | None = None
        if options.fmt == "csv" and len(trackers) > 1 and options.output is None:
            raise CommandError(
                "the trackers have different columns, which one CSV cannot hold: give -o DIR, "
                "or --fmt json"
            )
        if options.top and (len(trackers) > 1 or options.output or not os.isatty(1)):
            raise CommandError("--top needs a terminal, and one tracker")
        if options.output is not None:
            check_folder(options.output)

    @property
    def unwanted(self) -> bool:
        """Whether who read the rows has gone."""
        return self._writer.closed

    def open(self, _: agent_pb2.Job) -> list[Sink]:
        """Return the sinks of a job."""
        if self._options.output is not None:
            sink: Sink = Files(self._options.output, self._format)
        elif self._options.top:
            from eunomia_agent.cli.top import Top  # noqa: PLC0415  (rich takes 0.1 s)

            interval = self._options.interval
            sink = self._top = Top(
                self._trackers[0], interval=interval, containers=self._containers()
            )
        else:
            sink = StdoutSink(self._writer, self._format())
        self._sinks.append(sink)
        return [sink]

    def refresh(self) -> None:
        """Show what came since the last call, where it is not shown as it comes.

        Also see whether there is somebody left to show it to.
        """
        self._writer.look()
        if self._top is not None:
            self._top.refresh()

    def problems(self) -> Iterator[str]:
        """Give what is wrong with the outputs, or was as they were closed."""
        for sink in self._sinks:
            if sink.problem:
                yield f"{sink.name}: {sink.problem}"

    def _format(self) -> Format:
        options = self._options
        match options.fmt or ("table" if options.output is None else "json"):
            case "json":
                return Json()
            case "csv":
                return Csv()
            case "table":
                cut = options.output is None and not options.wide and os.isatty(1)
                return Table(
                    {name: tracker(name) for name in self._trackers},
                    screen=shutil.get_terminal_size().columns if cut else None,
                    containers=lambda: options.output is None and self._containers(),
                )
