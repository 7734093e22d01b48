# SPDX-License-Identifier: Apache-2.0
"""Trackers that run until SIGTERM: `eunomia daemon`, and `eunomia server --prometheus`."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eunomia_agent.cli.alerts import Filed, Printed
from eunomia_agent.cli.catalogue import catalogue, tracker
from eunomia_agent.cli.config import RulesWanted
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.files import Files, check_folder
from eunomia_agent.cli.formats import Json
from eunomia_agent.cli.job import MIB, Use, job
from eunomia_agent.cli.judging import Judging
from eunomia_agent.cli.local import Local
from eunomia_agent.cli.machine import require
from eunomia_agent.cli.problems import Problems
from eunomia_agent.cli.runtime import open_runtime
from eunomia_agent.cli.stdout import StdoutSink
from eunomia_agent.cli.stop import Stop
from eunomia_agent.cli.summary import summary
from eunomia_agent.cli.target import target
from eunomia_agent.cli.writer import Writer
from eunomia_agent.exporter import Accounts, Exporter
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.metrics.security import Security
from eunomia_agent.sinks.sink import Sink
from eunomia_api import agent_pb2

STUCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Whom:
    """Containers and processes; everything where none is named."""

    containers: Sequence[str] = ()
    pids: Sequence[int] = ()
    children: bool = False


def daemon(
    uses: Sequence[Use], whom: Whom, folder: Path | None, rules: RulesWanted | None, **options: Any
) -> None:
    """Run trackers, with their rows and alerts as JSON in a folder, or on standard output.

    rules: None: none are judged. options: see `_serve`. Raises AgentError.
    """
    stop, node = Stop(), os.uname().nodename
    writer = Writer(1, stop)
    if folder is not None:
        check_folder(folder)
    outlet = Printed(writer, node) if folder is None else Filed(Files(folder, Json), node)
    judging = Judging(rules, outlet, node) if rules else None

    def open_sinks(_: agent_pb2.Job) -> Sequence[Sink]:
        return [StdoutSink(writer, Json()) if folder is None else Files(folder, Json)]

    _serve("daemon", uses, whom, open_sinks, stop, judging=judging, **options)


def server(uses: Sequence[Use], whom: Whom, **options: Any) -> None:
    """Run trackers for their metrics alone; options: see `_serve`. Raises AgentError."""
    _serve("server", uses, whom, lambda _: [], Stop(), **options)


def _serve(
    name: str,
    uses: Sequence[Use],
    whom: Whom,
    open_sinks: Callable[[agent_pb2.Job], Sequence[Sink]],
    stop: Stop,
    *,
    judging: Judging | None = None,
    port: int | None,
    interval: float,
    buffer: int,
) -> None:
    """Run trackers until told to end, each as a job of its own.

    A tracker that cannot run here is told of, and the others go on. port: of /metrics; None: of
    nothing. interval: seconds between readings of what is counted. buffer: MiB a tracker. judging:
    the rules that rows are judged by; None: by none.
    """
    require([tracker(use.tracker) for use in uses])

    def opened(job: agent_pb2.Job) -> Sequence[Sink]:
        return [judging.guard] if judging is not None and job.rules else open_sinks(job)

    async def trace() -> Standing:
        async with open_runtime() as runtime:
            wanted = await target(
                whom.containers, whom.pids, children=whom.children, runtime=runtime
            )
            jobs = [
                job([use], wanted, buffer=buffer * MIB, interval=interval, name=name)
                for use in uses
            ]
            if judging is not None:
                jobs += judging.jobs(wanted, buffer=buffer * MIB, interval=interval)
            node = os.uname().nodename
            observed, seen = Observed(catalogue().trackers, node), Seen()
            local = Local(
                jobs,
                opened,
                catalogue=catalogue(),
                observed=observed,
                node=node,
                runtime=runtime,
                on_look=seen.look,
            )
            security = judging.security if judging is not None else None
            with stop.on_signals(), _exporter(port, seen, observed, security):
                sys.stderr.write(f"eunomia: {_announcement(uses, judging, port)}\n")
                return await local.run(stop)

    standing = asyncio.run(trace())
    totals = [each for found in standing.totals.values() for each in found.trackers.values()]
    sys.stderr.write(f"{summary(totals)}\n")
    if judging is not None:
        sys.stderr.write(f"{judging.summary()}\n")


class Seen:
    """What the last look at the jobs found, for who asks over HTTP."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self._problems = Problems()
        self._at = time.monotonic()

    def look(self, standing: Standing) -> None:
        """Take in where the jobs stand."""
        self.accounts.standing = standing
        self._problems.tell(standing)
        self._at = time.monotonic()

    def healthy(self) -> bool:
        """Whether the jobs have been looked at lately. May be called on any thread."""
        return time.monotonic() - self._at < STUCK_SECONDS


@contextmanager
def _exporter(
    port: int | None, seen: Seen, observed: Observed, security: Security | None
) -> Generator[None]:
    if port is None:
        yield
        return
    try:
        exporter = Exporter(port, seen.accounts, observed, seen.healthy, security)
    except OSError as error:
        raise CommandError(f"cannot listen on port {port}: {error.strerror}") from None
    try:
        yield
    finally:
        exporter.close()


def _announcement(uses: Sequence[Use], judging: Judging | None, port: int | None) -> str:
    parts = [f"running {', '.join(use.tracker for use in uses)}"]
    if judging is not None and judging.rules:
        many = len(judging.rules)
        rules = f"{many} rule{'' if many == 1 else 's'}"
        parts.append(f"judging {', '.join(judging.trackers)} by {rules}")
    if port:
        parts.append(f"metrics on port {port} at /metrics")
    return "; ".join(parts)
