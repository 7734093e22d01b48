# SPDX-License-Identifier: Apache-2.0
"""Bars, panel beside panel, as one SVG file that reads on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

PANEL, GAP = 460, 40
LABEL, NUMBER = 180, 70
"""Room for a bar's name at its left, and for its value at its right."""
ROW, HEAD = 22, 56
COLUMNS = 2
OURS, OTHER, GOAL = "#0072b2", "#b0b0b0", "#d55e00"
"""Told apart by those who see no red or green, too."""
FONT = "font-family: system-ui, sans-serif; font-size: 13px; fill: #222"


@dataclass(frozen=True, slots=True)
class Bar:
    """One value. text: the value as it is printed."""

    label: str
    value: float
    text: str
    ours: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars on one scale, which begins at 0. goal: a line across them."""

    title: str
    better: str
    bars: Sequence[Bar]
    goal: float | None = None


def chart(panels: Sequence[Panel]) -> ElementTree:
    """Draw the panels, two in a row."""
    heights = [_height(panel) for panel in panels]
    tops: list[int] = []
    top = GAP // 2
    for first in range(0, len(panels), COLUMNS):
        row = heights[first : first + COLUMNS]
        tops += [top] * len(row)
        top += max(row) + GAP
    width = COLUMNS * PANEL + (COLUMNS + 1) * GAP
    drawing = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {top}",
        width=str(width),
        height=str(top),
        style=FONT,
        role="img",
    )
    SubElement(drawing, "title").text = "Collectors side by side"
    SubElement(drawing, "rect", width="100%", height="100%", fill="white")
    for number, panel in enumerate(panels):
        left = GAP + number % COLUMNS * (PANEL + GAP)
        group = SubElement(drawing, "g", transform=f"translate({left} {tops[number]})")
        _draw(group, panel)
    indent(drawing)
    return ElementTree(drawing)


def _height(panel: Panel) -> int:
    return HEAD + ROW * len(panel.bars)


def _draw(group: Element, panel: Panel) -> None:
    _text(group, 0, 18, panel.title, style="font-weight: 600; font-size: 15px")
    _text(group, 0, 36, panel.better, fill="#666")
    most = max([bar.value for bar in panel.bars] + [panel.goal or 0.0]) or 1.0
    room = PANEL - LABEL - NUMBER
    for number, bar in enumerate(panel.bars):
        top = HEAD - 8 + number * ROW
        length = round(bar.value / most * room, 1)
        _text(group, LABEL - 8, top + 14, bar.label, **{"text-anchor": "end"})
        SubElement(
            group,
            "rect",
            x=str(LABEL),
            y=str(top + 2),
            width=str(max(length, 1)),
            height=str(ROW - 6),
            fill=OURS if bar.ours else OTHER,
        )
        _text(group, LABEL + max(length, 1) + 6, top + 14, bar.text)
    if panel.goal is not None:
        place = str(round(LABEL + panel.goal / most * room, 1))
        bottom = str(HEAD - 6 + ROW * len(panel.bars))
        line = SubElement(group, "line", x1=place, x2=place, y1=str(HEAD - 12), y2=bottom)
        line.set("stroke", GOAL)
        line.set("stroke-width", "1.5")
        line.set("stroke-dasharray", "4 3")


def _text(group: Element, left: float, top: float, text: str, **attributes: str) -> None:
    placed = {"x": str(left), "y": str(top), **attributes}
    SubElement(group, "text", placed).text = text
