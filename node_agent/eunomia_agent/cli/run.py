# SPDX-License-Identifier: Apache-2.0
"""`eunomia run`: one tracker, or the trackers of a job, until told to end."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eunomia_agent.cli import guide
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.options import MIB, Options
from eunomia_agent.cli.stop import Stop
from eunomia_api.param import ParamValue


def run_tracker(tracker: guide.Tracker, options: Options, params: Mapping[str, ParamValue]) -> None:
    """Trace with one tracker as the options say. Raises AgentError."""
    from eunomia_agent.cli.job import Use, condition  # noqa: PLC0415

    where = condition(options.where, uid=options.uid, comm=options.comm)
    use = Use(tracker.name, params, where, options.sample if options.sample > 1 else 0)
    _check(options)
    asyncio.run(_trace([use], options))


def _check(options: Options) -> None:
    if options.seconds is not None and options.seconds <= 0:
        raise CommandError(f"-T must be more than 0 seconds, not {options.seconds:g}")
    if options.children and not options.pid:
        raise CommandError("--children needs the process that they descend from: give -p PID")
    for pid in options.pid:
        if not Path(f"/proc/{pid}").exists():
            raise CommandError(f"there is no process {pid}")


async def _trace(uses: Sequence[Any], options: Options) -> None:
    from eunomia_agent.cli import containers  # noqa: PLC0415
    from eunomia_agent.cli.formats import Csv, Json  # noqa: PLC0415
    from eunomia_agent.cli.job import job  # noqa: PLC0415
    from eunomia_agent.cli.local import Local  # noqa: PLC0415
    from eunomia_agent.cli.stdout import StdoutSink  # noqa: PLC0415
    from eunomia_agent.cli.summary import summary  # noqa: PLC0415
    from eunomia_agent.cli.table import Table  # noqa: PLC0415
    from eunomia_agent.cli.writer import Writer  # noqa: PLC0415
    from eunomia_agent.keys import Keys  # noqa: PLC0415
    from eunomia_agent.metrics.observed import Observed  # noqa: PLC0415
    from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue  # noqa: PLC0415
    from eunomia_api import agent_pb2  # noqa: PLC0415

    catalogue = Catalogue.load()
    stop = Stop()
    writer = Writer(1, stop)
    node = os.uname().nodename
    with stop.on_signals():
        async with containers.open_runtime() as runtime:
            target = agent_pb2.Target(everything=True)
            if options.container:
                found = await runtime.containers() if runtime is not None else []
                target = containers.target(options.container, found)
            target.pids.extend(options.pid)
            target.children = options.children
            wanted = job(uses, target, buffer=options.buffer * MIB, interval=options.interval)
            form: Any
            if options.fmt == "json":
                form = Json()
            elif options.fmt == "csv":
                form = Csv()
            else:
                screen = shutil.get_terminal_size().columns if os.isatty(1) else None
                form = Table(
                    {use.tracker: guide.tracker(use.tracker).widths for use in uses},
                    screen=None if options.wide else screen,
                    containers=runtime is not None,
                )
            local = Local(
                [wanted],
                lambda _: [StdoutSink(writer, form)],
                catalogue=catalogue,
                observed=Observed(catalogue.trackers, node),
                use_of=Keys(catalogue, OBJECTS).use,
                node=node,
                runtime=runtime,
            )
            standing = await local.run(stop, options.seconds)
    if not writer.closed:
        totals = standing.totals[wanted.uid]
        sys.stderr.write(summary(totals.trackers.values()) + "\n")
