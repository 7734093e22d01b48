# SPDX-License-Identifier: Apache-2.0
"""What the catalogue tells people about trackers: help, params and columns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any, Literal

from eunomia_agent.cli.errors import CommandError
from eunomia_api.param import ParamValue

RESULTS = ("rows", "counts", "histogram", "stacks")
"""Where a tracker of the catalogue has its columns, by the result that they are of."""


@dataclass(frozen=True, slots=True)
class Param:
    """An option of a tracker."""

    name: str
    type: Literal["bool", "int", "string"]
    default: ParamValue
    help: str
    min: int | None
    max: int | None
    max_length: int | None

    @property
    def flag(self) -> str:
        """Its option on the command line: failedOnly is --failed-only."""
        return "--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in self.name)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a tracker's rows. type: of its value in JSON."""

    name: str
    type: str
    unit: str
    help: str
    width: int | None
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class Tracker:
    """A tracker. columns: by the result that they are of: rows (events), counts …"""

    name: str
    help: str
    params: Mapping[str, Param]
    columns: Mapping[str, Sequence[Column]]
    hooks: Sequence[str]
    any_of: Sequence[Sequence[str]]

    @property
    def widths(self) -> dict[str, int]:
        """Characters of each column in a table, as far as the catalogue says."""
        return {
            column.name: column.width
            for columns in self.columns.values()
            for column in columns
            if column.width
        }


@cache
def trackers() -> Mapping[str, Tracker]:
    """Return all trackers of this release, by name."""
    written = json.loads(resources.files("eunomia_api").joinpath("catalogue.json").read_bytes())
    return {each["name"]: _tracker(each) for each in written["trackers"]}


def tracker(name: str) -> Tracker:
    """Return a tracker. Raises CommandError with the names that are near."""
    known = trackers()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        rest = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise CommandError(f"there is no tracker {name!r}; {rest}")
    return known[name]


def _tracker(written: Mapping[str, Any]) -> Tracker:
    return Tracker(
        written["name"],
        written["help"],
        {name: _param(name, each) for name, each in written["params"].items()},
        {
            result: [_column(each) for each in written[result]]
            for result in RESULTS
            if isinstance(written.get(result), list)
        },
        written["requires"].get("hooks", ()),
        written["requires"].get("anyOf", ()),
    )


def _param(name: str, written: Mapping[str, Any]) -> Param:
    return Param(
        name,
        written["type"],
        written["default"],
        written["help"],
        written.get("min"),
        written.get("max"),
        written.get("maxLength"),
    )


def _column(written: Mapping[str, Any]) -> Column:
    return Column(
        written["name"],
        written["jsonType"],
        written.get("unit", ""),
        written.get("help", ""),
        written.get("width"),
        written.get("values", ()),
    )
