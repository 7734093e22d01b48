# SPDX-License-Identifier: Apache-2.0
"""The figures that the project wants to reach, held against results."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.plan import FLAT_OUT
from bench.results import Results, Row

OURS = "Eunomia"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal. met: None where it was not measured."""

    what: str
    goal: str
    ours: str
    met: bool | None
    peers: str


def verdicts(results: Results) -> list[Verdict]:
    """Judge all goals."""
    return [
        *_opens(results),
        *_drain(results),
        *_requests(results),
        *_calls(results),
        *_launch(results),
        *_others(results),
    ]


def is_ours(row: Row) -> bool:
    """Whether a row is of this project."""
    return str(row["collector"]).startswith(OURS)


def _opens(results: Results) -> Iterator[Verdict]:
    rows = results.rows("delivery", form="opens", rate=FLAT_OUT)
    rows = [row for row in rows if str(row["collector"]).split(", ")[1].startswith("rows")]
    peers = [row for row in rows if not is_ours(row)]
    ours = next((row for row in rows if is_ours(row)), None)
    what = "opens, two generators flat out, each a row in a file"
    best = max((float(row["delivered_a_second"]) for row in peers), default=0.0)
    yield Verdict(
        f"{what}: delivered",
        "100 %",
        _told(ours, lambda row: share(row["delivered_least"])),
        _met(ours, lambda row: row["delivered_least"] >= 1),
        _peers(peers, lambda row: f"{share(row['delivered'])}{_silent(row)}"),
    )
    yield Verdict(
        f"{what}: delivered a second",
        "≥ 2 times the best peer",
        _told(ours, lambda row: f"{thousands(row['delivered_a_second'])}{_times(row, best)}"),
        _met(ours, lambda row: row["delivered_a_second"] >= 2 * best),
        _peers(peers, lambda row: thousands(row["delivered_a_second"])),
    )
    yield Verdict(
        f"{what}: CPU of the collector a million",
        "≤ 2 s",
        _told(ours, lambda row: f"{row['cpu_ns'] / 1000:.2f} s"),
        _met(ours, lambda row: row["cpu_ns"] <= 2000),
        _peers(peers, lambda row: f"{row['cpu_ns'] / 1000:.1f} s"),
    )


def _drain(results: Results) -> Iterator[Verdict]:
    rows = results.rows("delivery", form="opens", rate=FLAT_OUT, collector=f"{OURS}, dropped")
    ours = rows[0] if rows else None
    what = "opens, two generators flat out, drained and dropped"
    yield Verdict(
        f"{what}: delivered",
        "100 %",
        _told(ours, lambda row: f"{share(row['delivered_least'])} of {a_second(row)}"),
        _met(ours, lambda row: row["delivered_least"] >= 1),
        "",
    )
    yield Verdict(
        f"{what}: CPU of the collector an event, accounting included",
        "≤ 120 ns",
        _told(ours, lambda row: nanoseconds(row["cpu_ns"])),
        _met(ours, lambda row: row["cpu_ns"] <= 120),
        "",
    )


def _requests(results: Results) -> Iterator[Verdict]:
    kinds = {
        "opens": ("nginx, every open written out: requests kept", 0.80),
        "calls": ("nginx, system calls counted in the kernel: requests kept", 0.97),
        "core": ("nginx, process + tcp + files + ipc: requests kept", 0.93),
    }
    for workload, (what, bound) in kinds.items():
        rows = results.rows("requests", workload=workload)
        peers = [row for row in rows if not is_ours(row)]
        ours = next((row for row in rows if is_ours(row)), None)
        best = max((float(row["ratio"]) for row in peers), default=0.0)
        above = workload == "core"
        yield Verdict(
            what,
            f"≥ {bound:.2f}" + (", and above every peer" if above else ""),
            _told(ours, lambda row: f"{row['ratio']:.2f}"),
            _met(ours, partial(_kept, bound=bound, best=best if above else 0.0)),
            _peers(peers, lambda row: f"{row['ratio']:.2f}"),
        )


def _calls(results: Results) -> Iterator[Verdict]:
    kinds = (
        ("opens", "filtered in", "one open and close, each open a row", 4000),
        ("getpid", "filtered in", "one getpid beside a tracker of opens", 260),
    )
    for call, side, what, bound in kinds:
        rows = [
            row
            for row in results.rows("calls", call=call, side=side)
            if str(row["collector"]).endswith("opens as rows")
        ]
        bare = results.rows("calls", call=call, side="bare")
        ours = next((row for row in rows if is_ours(row)), None)
        peers = [row for row in rows if not is_ours(row)]
        alone = f" (bare {nanoseconds(bare[0]['ns'])})" if bare else ""
        yield Verdict(
            what + alone,
            f"≤ {nanoseconds(bound)}",
            _told(ours, lambda row: nanoseconds(row["ns"])),
            _met(ours, partial(_within, bound=bound)),
            _peers(peers, lambda row: nanoseconds(row["ns"])),
        )


def _launch(results: Results) -> Iterator[Verdict]:
    rows = results.rows("launch")
    ours = next((row for row in rows if is_ours(row)), None)
    peers = [row for row in rows if not is_ours(row) and row["first_s"]]
    yield Verdict(
        "launch to first event on the command line",
        "< 0.4 s",
        _told(ours, lambda row: f"{row['first_s']:.2f} s"),
        _met(ours, lambda row: row["first_s"] < 0.4),
        _peers(peers, lambda row: f"{row['first_s']:.2f} s"),
    )


def _others(results: Results) -> Iterator[Verdict]:
    """What bench.figure judges by itself."""
    for row in results.figures:
        if row["goal"] is None:
            continue
        goal = row["goal"]
        ours = f"{row['median']:.3g} {row['unit']}" if row["values"] else NOT_MEASURED
        bound = f"{goal['sense']} {goal['bound']:g} {row['unit']}"
        yield Verdict(str(row["name"]), bound, ours, row["met"], "")


def _kept(row: Row, bound: float, best: float) -> bool:
    return bool(row["ratio"] >= bound and row["ratio"] > best)


def _within(row: Row, bound: float) -> bool:
    return bool(row["ns"] <= bound)


def _met(row: Row | None, test: Callable[[Row], object]) -> bool | None:
    return bool(test(row)) if row is not None else None


def _told(row: Row | None, text: Callable[[Row], str]) -> str:
    return text(row) if row is not None else NOT_MEASURED


def _peers(rows: list[Row], text: Callable[[Row], str]) -> str:
    return ", ".join(f"{short(row)} {text(row)}" for row in rows)


def short(row: Row) -> str:
    """Return a collector's name, with its mode only where that is a variant."""
    name, _, mode = str(row["collector"]).partition(", ")
    variant = mode.partition("-")[2]
    return f"{name} ({variant})" if variant else name


def share(value: float) -> str:
    """Return a share of 1 as per cent, never rounded up to 100."""
    per_cent = value * 100
    if 99.95 <= per_cent < 100:
        return "99.9 %"
    return f"{per_cent:.3g} %" if per_cent < 99.95 else f"{per_cent:.0f} %"


def a_second(row: Row) -> str:
    """Return how many events a second were made."""
    return f"{thousands(row['made_a_second'])} a second"


def thousands(value: float) -> str:
    """Return a number with its thousands apart."""
    return f"{round(value, -3 if value > 10_000 else 0):,.0f}"


def nanoseconds(value: float) -> str:
    """Return a time in the unit that suits it."""
    for bound, factor, unit in ((1e3, 1.0, "ns"), (1e6, 1e-3, "µs"), (float("inf"), 1e-6, "ms")):
        if value < bound:
            scaled = value * factor
            return (
                f"{scaled:.1f} {unit}" if unit != "ns" and scaled < 10 else f"{scaled:.0f} {unit}"
            )
    return "not a time"


def told(row: Row) -> str:
    """Return whether a collector told of its loss: all, none or a part of it."""
    lost, said = float(row["lost"]), float(row["told"])
    if not lost:
        return "nothing lost"
    if abs(said - lost) <= 0.01 * lost:
        return "yes"
    return f"{said / lost * 100:.0f} % of it" if said else "no"


def _silent(row: Row) -> str:
    return " and silent" if row["lost"] and not row["told"] else ""


def _times(row: Row, best: float) -> str:
    return f" ({row['delivered_a_second'] / best:.1f} times)" if best else ""
