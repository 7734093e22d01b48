# SPDX-License-Identifier: Apache-2.0
"""The trackers of this release, as the build wrote them down (`eunomia_api.tracker`).

Read without checks and into plain objects: the file is the package's own, and was checked when it
was written. The models that check it would take 11 MiB on every node.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import eunomia_api
from eunomia_api.param import ParamValue, check_all

Part = TypeVar("Part")

WRITTEN = Path(eunomia_api.__file__).with_name("catalogue.json")
OBJECTS = Path(__file__).parents[1] / "objects"
"""The folder of the compiled objects, as the build wrote them."""


@dataclass(frozen=True, slots=True)
class Param:
    """An option of a tracker; see eunomia_api.tracker.Param."""

    type: Literal["bool", "int", "string"]
    default: ParamValue
    variable: str | None
    min: int | None
    max: int | None
    max_length: int | None
    help: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a tracker's rows; see eunomia_api.tracker.CatalogueColumn."""

    name: str
    type: str
    json_type: Literal["string", "integer", "number", "boolean", "array"]
    values: Sequence[str]
    unit: str
    help: str
    width: int | None
    filterable: bool


@dataclass(frozen=True, slots=True)
class Metric:
    """A Prometheus metric made of a tracker's rows; see eunomia_api.tracker.Metric."""

    kind: Literal["counter", "gauge"]
    source: str
    value: str | None
    where: Mapping[str, ParamValue | list[ParamValue]]
    labels: Sequence[str]
    names: Mapping[str, str]
    divide_by: int
    max_series: int
    help: str


@dataclass(frozen=True, slots=True)
class Tracker:
    """One tracker; see eunomia_api.tracker.CatalogueTracker.

    hooks: sections of its object without which it makes no sense. any_of: sections that do the
    same, the better first. programs: section → the params of which one switches its programs on.
    denies: section that refuses what a rule denies → the kinds of events that it refuses.
    """

    name: str
    help: str
    params: Mapping[str, Param]
    columns: Sequence[Column]
    hidden: Sequence[Column]
    sources: Mapping[str, Sequence[str]]
    metrics: Mapping[str, Metric]
    hooks: Sequence[str]
    any_of: Sequence[Sequence[str]]
    programs: Mapping[str, Sequence[str]]
    denies: Mapping[str, Sequence[str]]

    def check_params(self, values: Mapping[str, object]) -> dict[str, ParamValue]:
        """Return the values of all params, defaults included. Raises ValueError."""
        return check_all(self.name, self.params, values)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All trackers, by name. hash: of what they are, as the operator compares it."""

    hash: str
    trackers: Mapping[str, Tracker]

    @classmethod
    def load(cls) -> Self:
        """Return the catalogue that the build wrote. Raises FileNotFoundError before a build."""
        written = json.loads(WRITTEN.read_bytes())
        return cls(written["hash"], {each["name"]: _tracker(each) for each in written["trackers"]})


def _tracker(written: dict[str, Any]) -> Tracker:
    return Tracker(
        name=written["name"],
        help=written["help"],
        params={name: _part(Param, param) for name, param in written["params"].items()},
        columns=[_part(Column, column) for column in written["rows"]],
        hidden=[_part(Column, column) for column in written["hidden"]],
        sources=written["sources"],
        metrics={name: _part(Metric, metric) for name, metric in written["metrics"].items()},
        hooks=written["requires"]["hooks"],
        any_of=written["requires"]["anyOf"],
        programs=written["programs"],
        denies=written["denies"],
    )


def _part(kind: type[Part], written: dict[str, Any]) -> Part:
    """Return what is used of a part. The file's names are in camelCase."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: written[_camel(name)] for name in names})


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
