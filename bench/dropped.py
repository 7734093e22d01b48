# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.dropped TRACKER COMM`: trace as `eunomia run` does, and let all rows go.

What is left is the cost of bringing events out of the kernel, with the accounting.
"""

import asyncio
import os
import sys

from eunomia_agent.cli.job import MIB, Use, condition, job
from eunomia_agent.cli.local import Local
from eunomia_agent.cli.stop import Stop
from eunomia_agent.jobs.standing import Standing
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_api import agent_pb2

BUFFER_MIB = 16
"""The default of `eunomia run`."""


class Dropped:
    """Accepts all rows, and keeps none."""

    name = "dropped"
    limited = 0
    problem: str | None = None

    def write(self, rows: Rows) -> int:
        """Accept all."""
        return len(rows)

    def close(self) -> None:
        """Nothing is open."""


async def trace(tracker: str, comm: str) -> None:
    """Trace until interrupted, then print the account."""
    catalogue, stop, node = Catalogue.load(), Stop(), os.uname().nodename
    wanted = job(
        [Use(tracker, {}, condition(comm=comm))],
        agent_pb2.Target(everything=True),
        buffer=BUFFER_MIB * MIB,
        interval=1.0,
    )
    ready = False

    def look(_: Standing) -> None:
        nonlocal ready
        if not ready:
            print("ready", flush=True)
        ready = True

    local = Local(
        [wanted],
        lambda _: [Dropped()],
        catalogue=catalogue,
        observed=Observed(catalogue.trackers, node),
        node=node,
        on_look=look,
    )
    with stop.on_signals():
        standing = await local.run(stop)
    for totals in standing.totals[wanted.uid].trackers.values():
        lost = totals.lost_kernel + totals.lost_agent
        print(f"{totals.delivered} events\n{lost} lost", flush=True)


if __name__ == "__main__":
    asyncio.run(trace(*sys.argv[1:]))
