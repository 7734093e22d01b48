# SPDX-License-Identifier: Apache-2.0
"""What rules, killing and learning take, with the agent's own code on this machine alone."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import alerting, generator, judging, killing, learning
from bench.cgroup import cgroup
from bench.errors import BenchError
from bench.figure import Figure, number
from bench.report import MET, table
from bench.results import Results, Row
from dev.progress import say
from eunomia_api.library import built_in

FOLDER = Path(__file__).parent
PREFACE, NOTES = FOLDER / "rules_preface.md", FOLDER / "rules_notes.md"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long and how often each thing is measured. opens: a second; seconds: of load."""

    deeds: int
    deaths: int
    opens: int
    rounds: int
    seconds: float
    learned_rounds: int
    bursts: int


FULL = Extent(200, 200, 100_000, 9, 2.0, 9, 5)
QUICK = Extent(5, 5, 10_000, 1, 0.3, 1, 1)


def measure(extent: Extent) -> list[Figure]:
    """Measure all of it. Raises BenchError."""
    groups = sorted(built_in().groups)
    figures: list[Figure] = []
    with generator.compiled() as load, cgroup() as own:
        loaded, agent = own.child("loaded"), own.child("agent")
        say("  event to alert")
        figures += alerting.measure(load, loaded, agent, groups, extent.deeds)
        say("  killing")
        figures += killing.measure(own.child("killed"), extent.deaths)
        say("  learning")
        figures += learning.measure(load, loaded, extent.learned_rounds, extent.bursts)
        figures += judging.measure(
            load,
            loaded,
            agent,
            opens=extent.opens,
            rounds=extent.rounds,
            seconds=extent.seconds,
        )
    say(f"  load at the end {os.getloadavg()[0]:.2f}")
    return figures


def write(results: Results, page: Path) -> None:
    """Write the page. Raises BenchError where this was not measured."""
    if not results.figures:
        raise BenchError("the results hold no figures: measure first, by `python -m bench rules`")
    page.write_text("\n".join(markdown(results)))


def markdown(results: Results) -> Iterator[str]:
    """Give the lines of the page."""
    yield PREFACE.read_text()
    yield "## The run\n"
    yield from table(("what", "value"), results.machine.items())
    yield "## Figures\n"
    yield from table(
        ("figure", "measured (rounds: least…most)", "goal", "met", ""),
        (_cells(row) for row in results.figures),
    )
    yield NOTES.read_text()


def _cells(row: Row) -> tuple[str, ...]:
    goal, values, unit = row["goal"], row["values"], row["unit"]
    measured = f"{number(row['median'])} {unit}" if values else "not measured"
    if len(values) > 1:
        measured += f" ({len(values)}: {number(min(values))}…{number(max(values))})"
    asked = f"{goal['sense']} {goal['bound']:g} {unit}" if goal else ""
    return str(row["name"]).strip(), measured, asked, MET[row["met"]], str(row["note"])
