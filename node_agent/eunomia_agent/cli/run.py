# SPDX-License-Identifier: Apache-2.0
"""`eunomia run`: trackers for as long as somebody looks on."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from eunomia_agent.cli.catalogue import catalogue, tracker
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.job import MIB, Use, condition, job
from eunomia_agent.cli.local import Local
from eunomia_agent.cli.machine import require
from eunomia_agent.cli.options import DEFAULTS, Options
from eunomia_agent.cli.output import Output
from eunomia_agent.cli.problems import Problems
from eunomia_agent.cli.runtime import open_runtime
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.summary import summary
from eunomia_agent.cli.target import cgroup_path, target
from eunomia_agent.containers import hierarchy
from eunomia_agent.containers.runtime import Runtime
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_api import agent_pb2, sample
from eunomia_api.param import ParamValue

LONGEST = 365 * 24 * 3600.0
"""Seconds of -T, that no number may be above."""


def run_tracker(found: Tracker, options: Options, params: Mapping[str, ParamValue]) -> None:
    """Trace with one tracker as the options say. Raises AgentError."""
    _check(options)
    _check_condition(options.where, found)
    _check_sample(options.sample, found)
    where = condition(options.where, uid=options.uid, comm=options.comm)
    use = Use(found.name, params, where, options.sample)
    root = hierarchy.here().root if options.cgroup else None
    places = [cgroup_path(each, root) for each in options.cgroup]

    async def trace() -> None:
        async with open_runtime() as runtime:
            whom = await target(
                options.container,
                options.pid,
                children=options.children,
                runtime=runtime,
                cgroups=places,
            )
            wanted = job([use], whom, buffer=options.buffer * MIB, interval=options.interval)
            await _trace(wanted, options, options.seconds, runtime)

    require([found])
    asyncio.run(trace())


def run_file(path: Path, options: Options) -> None:
    """Trace as a TraceJob or ClusterTraceJob in a file says. Raises AgentError."""
    from eunomia_agent.cli import manifest  # noqa: PLC0415  (pydantic and YAML take 0.1 s)

    for name in ("container", "cgroup", "pid", "children", "uid", "comm", "where", "sample"):
        if getattr(options, name) != DEFAULTS[name]:
            raise CommandError(f"with -f the job says whom and what to trace: leave out --{name}")
    _check(options)
    found = manifest.load(path)

    async def trace() -> None:
        async with open_runtime() as runtime:
            if runtime is None and found.job.target.pods and not found.job.target.host:
                raise CommandError(f"{path} selects pods, and no container runtime listens here")
            await _trace(found.job, options, options.seconds or found.seconds, runtime)

    require([tracker(use.name) for use in found.job.trackers])
    asyncio.run(trace())


async def _trace(
    wanted: agent_pb2.Job, options: Options, seconds: float | None, runtime: Runtime | None
) -> None:
    stop, problems, node = Stop(), Problems(), os.uname().nodename
    trackers = [use.name for use in wanted.trackers]
    output = Output(options, trackers, stop, containers=lambda: local.sees_containers)

    def look(standing: Standing) -> None:
        problems.tell(standing)
        output.refresh()

    local = Local(
        [wanted],
        output.open,
        catalogue=catalogue(),
        observed=Observed(catalogue().trackers, node),
        node=node,
        runtime=runtime,
        on_look=look,
    )
    with stop.on_signals():
        standing = await local.run(stop, seconds)
    problems.tell_of(output.problems())
    if not output.unwanted:
        sys.stderr.write(f"{summary(standing.totals[wanted.uid].trackers.values())}\n")


def _check(options: Options) -> None:
    """Raise CommandError for options that do not fit together, or processes that are not there."""
    if options.seconds is not None and not 0 < options.seconds < LONGEST:
        raise CommandError(
            f"-T must be above 0 and below a year, in seconds, not {options.seconds:g}"
        )
    if not 0.1 <= options.interval <= 3600:
        raise CommandError(f"-i must be from 0.1 to 3600 seconds, not {options.interval:g}")
    if options.children and not options.pid:
        raise CommandError("--children needs the process that they descend from: give -p PID")
    for pid in options.pid:
        if not Path(f"/proc/{pid}").exists():
            raise CommandError(f"there is no process {pid}")


def _check_condition(where: str, found: Tracker) -> None:
    """Raise CommandError for a wrong condition, with the place in it as the person wrote it."""
    if where:
        from eunomia_api.where import WhereInvalid, parse  # noqa: PLC0415  (loads a parser)

        try:
            parse(where, found.columns, found.hidden)
        except WhereInvalid as error:
            raise CommandError(f"--where: {error}") from None


def _check_sample(number: int, found: Tracker) -> None:
    """Raise CommandError where there are no events to keep one in so many of."""
    try:
        sample.check(found.name, found.sources, number)
    except ValueError as error:
        raise CommandError(f"--sample {error}") from None
