# SPDX-License-Identifier: Apache-2.0
"""Figures, and the one table that they are printed in."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Literal

Sense = Literal["<", "≤", "≥"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: below a bound, at most or at least at it."""

    sense: Sense
    bound: float

    def met(self, value: float) -> bool:
        """Tell whether a value is as it should be."""
        if self.sense == "<":
            return value < self.bound
        return value <= self.bound if self.sense == "≤" else value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. values: each measurement, in the unit; none where it could not be measured.

    The median is held against the goal, unless `worst`: then every measurement is. note: what one
    must know to read it, or why it could not be measured.
    """

    name: str
    unit: str
    values: Sequence[float]
    goal: Goal | None = None
    worst: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing was measured."""
        if self.goal is None or not self.values:
            return None
        judged = self.values if self.worst else [median(self.values)]
        return all(self.goal.met(value) for value in judged)

    def plain(self) -> dict[str, object]:
        """Return the figure as JSON takes it."""
        return {
            **asdict(self),
            "values": list(self.values),
            "median": median(self.values) if self.values else None,
            "met": self.met,
        }


HEADINGS = ("FIGURE", "MEASURED", "GOAL", "MET", "")


def table(figures: Iterable[Figure]) -> str:
    """Return all figures as lines of plain text, columns aligned."""
    rows = [HEADINGS, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    return "\n".join(
        "  ".join(
            [*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]
        ).rstrip()
        for row in rows
    )


def _row(figure: Figure) -> tuple[str, ...]:
    goal = ""
    if figure.goal is not None:
        goal = f"{figure.goal.sense} {number(figure.goal.bound)} {figure.unit}"
    met = {True: "yes", False: "NO", None: "?" if figure.goal else ""}[figure.met]
    return figure.name, _measured(figure), goal, met, figure.note


def _measured(figure: Figure) -> str:
    values = figure.values
    if not values:
        return "not measured"
    if len(values) == 1:
        return f"{number(values[0])} {figure.unit}"
    return (
        f"{number(median(values))} {figure.unit}"
        f" ({len(values)}: {number(min(values))}…{number(max(values))})"
    )


def number(value: float) -> str:
    """Return a number to three digits, thousands apart, never with an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
