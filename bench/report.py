# SPDX-License-Identifier: Apache-2.0
"""Results as docs/benchmarks.md, and the chart beside it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.chart import Bar, Panel, chart
from bench.goals import is_ours, nanoseconds, share, short, thousands, told, verdicts
from bench.plan import FLAT_OUT
from bench.results import Results, Row

FOLDER = Path(__file__).parent
PREFACE, NOTES = FOLDER / "preface.md", FOLDER / "notes.md"
"""What people wrote: how to run and read it, before the tables; why a goal is missed, after."""
DASH = "-"


def write(results: Results, page: Path) -> None:
    """Write the page, and the chart under the same name."""
    page.write_text("\n".join(markdown(results, page.with_suffix(".svg").name)))
    with page.with_suffix(".svg").open("wb") as file:
        chart(list(panels(results))).write(file, encoding="utf-8")
        file.write(b"\n")


def markdown(results: Results, picture: str) -> Iterator[str]:
    """Give the lines of the page."""
    yield PREFACE.read_text()
    yield "## The run\n"
    yield from table(("what", "value"), results.machine.items())
    yield from table(("collector", "version"), results.versions.items())
    yield f"![Collectors side by side]({picture})\n"
    yield "## Figures to reach\n"
    rows = (
        (each.what, each.goal, each.ours, MET[each.met], each.peers) for each in verdicts(results)
    )
    yield from table(("what", "goal", "Eunomia", "met", "peers in the same run"), rows)
    yield NOTES.read_text()
    for title, section in SECTIONS.items():
        if lines := list(section(results)):
            yield f"## {title}\n"
            yield from lines
    if results.failures:
        yield "## What could not be measured here\n"
        yield from table(("what", "why"), results.failures.items())


MET = {True: "yes", False: "**no**", None: DASH}


def table(headings: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Give a table's lines, and an empty one; none where it has no rows."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    if lines:
        yield "| " + " | ".join(headings) + " |"
        yield "|" + "---|" * len(headings)
        yield from lines
        yield ""


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _delivery(results: Results) -> Iterator[str]:
    headings = (
        "collector",
        "delivered",
        "a second",
        "loss told",
        "its CPU an event",
        "an operation costs",
        "resident",
    )
    done: set[tuple[str, int]] = set()
    for row in results.rows("delivery"):
        form, rate = row["form"], row["rate"]
        if (form, rate) in done:
            continue
        done.add((form, rate))
        rows = results.rows("delivery", form=form, rate=rate)
        asked = f"{rate:,} a second" if rate != FLAT_OUT else "flat out"
        yield f"### {form}, {asked}: bare {nanoseconds(rows[0]['bare_ns'])} each\n"
        yield from table(
            headings,
            (
                (
                    row["collector"],
                    share(row["delivered"]),
                    f"{thousands(row['delivered_a_second'])} of {thousands(row['made_a_second'])}",
                    told(row),
                    nanoseconds(row["cpu_ns"]),
                    nanoseconds(row["operation_ns"]),
                    f"{row['resident_mib']:.0f} MiB",
                )
                for row in rows
            ),
        )


def _requests(results: Results) -> Iterator[str]:
    kinds = {
        "opens": "every open written out",
        "calls": "system calls counted in the kernel",
        "core": "processes, connections, files and signals",
    }
    for workload, what in kinds.items():
        rows = results.rows("requests", workload=workload)
        if not rows:
            continue
        yield f"### {what}\n"
        yield from table(
            (
                "collector",
                "requests kept",
                "requests a second",
                "p99 latency",
                "CPU of nginx a request",
                "CPU of the collector a request",
            ),
            (
                (
                    row["collector"],
                    f"{row['ratio']:.2f} ({row['ratio_least']:.2f}…{row['ratio_most']:.2f})",
                    f"{thousands(row['requests'])} of {thousands(row['bare_requests'])}",
                    f"{row['p99_ms']:.2f} ms (none: {row['bare_p99_ms']:.2f})",
                    f"{row['server_us']:.1f} µs (none: {row['bare_server_us']:.1f})",
                    f"{row['collector_us']:.1f} µs",
                )
                for row in rows
            ),
        )


def _calls(results: Results) -> Iterator[str]:
    def cell(collector: str, call: str, side: str) -> str:
        rows = results.rows("calls", collector=collector, call=call, side=side)
        return nanoseconds(rows[0]["ns"]) if rows else DASH

    collectors = dict.fromkeys(row["collector"] for row in results.rows("calls"))
    sides = [
        (call, side) for call in ("opens", "getpid") for side in ("filtered in", "filtered out")
    ]
    rows = [
        (
            name,
            *(cell(name, call, side if name != "none" else "bare") for call, side in sides),
        )
        for name in collectors
    ]
    headings = ("collector", *(f"{CALL[call]}, {side}" for call, side in sides))
    yield from table(headings, rows)


CALL = {"opens": "open and close", "getpid": "getpid"}


def _density(results: Results) -> Iterator[str]:
    rows = results.rows("density")
    numbers = list(dict.fromkeys(row["containers"] for row in rows))
    collectors = dict.fromkeys(row["collector"] for row in rows)

    def cells(name: str, text: Callable[[Row], str]) -> Iterator[str]:
        for number in numbers:
            found = results.rows("density", collector=name, containers=number)
            yield text(found[0]) if found else DASH

    headings = ("collector", *(f"{number} containers" for number in numbers))
    yield from table(
        headings,
        (
            (
                name,
                *cells(
                    name, lambda row: f"{share(row['delivered'])}, {nanoseconds(row['cpu_ns'])}"
                ),
            )
            for name in collectors
        ),
    )


def _launch(results: Results) -> Iterator[str]:
    yield from table(
        ("collector", "launch to first event", "CPU at rest", "resident at rest"),
        (
            (
                row["collector"],
                f"{row['first_s']:.2f} s ({row['first_least_s']:.2f}…{row['first_most_s']:.2f})"
                if row["first_s"]
                else DASH,
                f"{row['rest_share'] * 100:.2f} % of a core" if row["rest_mib"] else DASH,
                f"{row['rest_mib']:.0f} MiB" if row["rest_mib"] else DASH,
            )
            for row in results.rows("launch")
        ),
    )


def _agent(results: Results) -> Iterator[str]:
    def measured(row: Row) -> str:
        values = row["values"]
        if not values:
            return "not measured"
        spread = f" ({len(values)}: {min(values):.3g}…{max(values):.3g})" if len(values) > 1 else ""
        return f"{row['median']:.3g} {row['unit']}{spread}"

    yield from table(
        ("figure", "measured", ""),
        ((row["name"], measured(row), row["note"]) for row in results.figures),
    )


SECTIONS: dict[str, Callable[[Results], Iterator[str]]] = {
    "Events delivered": _delivery,
    "nginx under wrk": _requests,
    "One system call": _calls,
    "Density: 20,000 opens a second of all containers together": _density,
    "Launch and rest": _launch,
    "The agent and the operator": _agent,
}


def panels(results: Results) -> Iterator[Panel]:
    """Give the chart's panels, of what was measured."""
    flat = [
        row
        for row in results.rows("delivery", form="opens", rate=FLAT_OUT)
        if ", rows" in row["collector"]
    ]
    yield from _panel(
        "Opens, two generators flat out: delivered",
        "share of what was made; more is better",
        flat,
        lambda row: row["delivered"],
        lambda row: share(row["delivered"]),
    )
    yield from _panel(
        "Opens, flat out: CPU of the collector an event",
        "less is better",
        flat,
        lambda row: row["cpu_ns"],
        lambda row: nanoseconds(row["cpu_ns"]),
        2000,
    )
    goals = {
        "opens": ("nginx, every open written out", 0.80),
        "calls": ("nginx, system calls counted", 0.97),
        "core": ("nginx, processes + connections + files + signals", 0.93),
    }
    for workload, (title, goal) in goals.items():
        yield from _panel(
            title,
            "requests kept; more is better",
            results.rows("requests", workload=workload),
            lambda row: row["ratio"],
            lambda row: f"{row['ratio']:.2f}",
            goal,
        )
    calls = [
        row
        for row in results.rows("calls", call="opens")
        if row["side"] == "bare"
        or (row["side"] == "filtered in" and row["collector"].endswith("as rows"))
    ]
    yield from _panel(
        "One open and close, each open a row",
        "CPU time of the traced process; less is better",
        calls,
        lambda row: row["ns"],
        lambda row: nanoseconds(row["ns"]),
        4000,
    )


def _panel(  # noqa: PLR0917
    title: str,
    better: str,
    rows: list[Row],
    value: Callable[[Row], float],
    text: Callable[[Row], str],
    goal: float | None = None,
) -> Iterator[Panel]:
    bars = [Bar(short(row), value(row), text(row), is_ours(row)) for row in rows]
    if bars:
        yield Panel(title, better, bars, goal)
