# SPDX-License-Identifier: Apache-2.0
"""The description of a tracker, as its YAML file gives it, and the catalogue of all of them.

The description says in words and bounds what the tracker's C file says in types; the catalogue is
both together, written by the build, so that the operator can check a job without any agent.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eunomia_api import param
from eunomia_api.model import Written
from eunomia_api.param import ParamValue

CamelName = Annotated[str, Field(pattern=r"^[a-z][a-zA-Z0-9]{0,62}$")]
MemberName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TrackerName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
MetricName = Annotated[str, Field(pattern=r"^eunomia_observed_[a-z0-9_]+$", max_length=128)]
Sentence = Annotated[str, Field(min_length=1, max_length=1024)]
Names = Annotated[list[str], Field(max_length=16)]
JsonType = Literal["string", "integer", "number", "boolean", "array"]
Source = Literal["events", "counts", "histogram", "stacks"]
"""What a tracker's results are: one by one, or added up in the kernel over an interval."""


class Param(Written):
    """An option of a tracker: a `const volatile` variable of its C file."""

    type: Literal["bool", "int", "string"]
    """What values it takes."""
    help: Sentence
    """What it does, in one sentence."""
    default: ParamValue
    """The value when a job gives none."""
    variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """The variable in C. Absent: the param's name in snake_case."""
    min: int | None = None
    """The least integer."""
    max: int | None = None
    """The greatest integer."""
    max_length: Annotated[int, Field(ge=1, le=4095)] | None = None
    """The most bytes of a string in UTF-8."""

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        bounds = self.min is not None, self.max is not None
        if self.type == "int" and not all(bounds):
            raise ValueError("an int needs min and max")
        if self.type != "int" and any(bounds):
            raise ValueError(f"min and max are for an int, not for a {self.type}")
        if (self.type == "string") != (self.max_length is not None):
            raise ValueError("maxLength belongs to a string, and every string needs it")
        self.check(self.default)
        return self

    def check(self, value: object) -> ParamValue:
        """Return a value that the param takes. Raises ValueError that says what is allowed."""
        return param.check(self, value)

    @property
    def allowed(self) -> str:
        """What values it takes, in words."""
        return param.allowed(self)


class Column(Written):
    """What a column of a tracker's rows tells."""

    help: Sentence
    """What it tells, in one sentence."""
    unit: Annotated[str, Field(max_length=16)] = ""
    """The unit of a number, such as ns or bytes."""
    width: Annotated[int, Field(ge=1, le=256)] | None = None
    """Characters in a table; absent: as many as its type commonly takes."""


Kinds = Annotated[list[MemberName], Field(max_length=32)]
Columns = Annotated[dict[MemberName, Column], Field(max_length=64)]


class Metric(Written):
    """A Prometheus metric made of a tracker's rows."""

    kind: Literal["counter", "gauge"]
    """What Prometheus calls its type. A gauge shows the last row's value."""
    source: Source = "events"
    """The result that it is made of."""
    value: MemberName | None = None
    """The column that is added up or shown. Absent: how many events the rows stand for."""
    where: dict[MemberName, ParamValue | Annotated[list[ParamValue], Field(min_length=1)]] = {}
    """Only rows whose columns have these values; of a list, any of them."""

    @property
    def wanted(self) -> dict[MemberName, list[ParamValue]]:
        """The values that each column of `where` may have."""
        return {
            name: value if isinstance(value, list) else [value]
            for name, value in self.where.items()
        }

    labels: Names = []
    """Columns that are labels beside those of the container."""
    names: dict[MemberName, MemberName] = {}
    """What a label is called where that is not its column's name: column → label."""
    divide_by: Annotated[int, Field(ge=1)] = 1
    """1000000000 makes seconds, the unit of Prometheus, of a column in nanoseconds."""
    max_series: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Series a job; what comes on top is one series whose labels say `other`."""
    help: Sentence
    """What it counts."""


class Requires(Written):
    """What the kernel must offer."""

    hooks: Annotated[list[str], Field(max_length=64)] = []
    """Sections of the object without whose hooks the tracker makes no sense."""
    any_of: Annotated[list[Annotated[list[str], Field(min_length=1)]], Field(max_length=8)] = []
    """Sections that do the same, the better first: the first list of which the kernel has all is
    used, and the programs of the others stay off."""


class TrackerDescription(Written):
    """One tracker, as its YAML file describes it."""

    name: TrackerName
    help: Sentence
    params: Annotated[dict[CamelName, Param], Field(max_length=32)] = {}
    columns: Columns = {}
    """The columns of events."""
    counts: Columns = {}
    """The columns of what is counted in the kernel."""
    histogram: Columns = {}
    """The columns of what is sorted by size in the kernel. Of this and the two beside it: a bool
    param of the same name says whether there is any."""
    stacks: Columns = {}
    """The columns of what is counted by stack."""
    programs: Annotated[dict[str, list[CamelName]], Field(max_length=16)] = {}
    """Sections whose programs run only when one of some params is true: section → the params."""
    denies: Annotated[dict[str, Kinds], Field(max_length=32)] = {}
    """Sections whose programs refuse what a rule denies, and nothing else: section → the kinds of
    events that each one refuses, values of the column `kind`; none where there is no such column.
    They run for rules that deny, and for nothing else."""
    metrics: Annotated[dict[MetricName, Metric], Field(max_length=16)] = {}
    requires: Requires = Requires()

    def check_params(self, values: Mapping[str, object]) -> dict[str, ParamValue]:
        """Return the values of all params, defaults included.

        Raises ValueError that names the param and says what is allowed.
        """
        return param.check_all(self.name, self.params, values)


class CatalogueColumn(Written):
    """A column with its type from the object's BTF."""

    name: str
    type: str
    """The typedef that carries its meaning, or the C type."""
    json_type: JsonType
    """What a row holds."""
    values: list[str] = []
    """All values of an enumeration."""
    unit: str = ""
    help: str = ""
    width: int | None = None
    filterable: bool = False
    """Whether the kernel can decide on it."""


class CatalogueTracker(TrackerDescription):
    """A tracker's description with the types of its columns."""

    rows: list[CatalogueColumn] = []
    """The columns of its rows, in order, those of events before others; each name once."""
    hidden: list[CatalogueColumn] = []
    """What the kernel can decide on though no row shows it: who it was, where rows add up."""
    sources: dict[Source, list[str]] = {}
    """Its results, each with the names of its columns."""


class Catalogue(Written):
    """All trackers of one release."""

    hash: str
    """SHA-256 of the trackers: two sides with the same hash have the same trackers."""
    trackers: list[CatalogueTracker]

    @classmethod
    def load(cls) -> Self:
        """Return the catalogue that the build wrote. Raises FileNotFoundError before a build."""
        return cls.model_validate_json(_packaged())

    def tracker(self, name: str) -> CatalogueTracker:
        """Return a tracker. Raises KeyError naming what there is."""
        for tracker in self.trackers:
            if tracker.name == name:
                return tracker
        known = ", ".join(tracker.name for tracker in self.trackers)
        raise KeyError(f"no tracker {param.shown(name)}; there are: {known}")


@cache
def _packaged() -> bytes:
    return resources.files("eunomia_api").joinpath("catalogue.json").read_bytes()


def canonical(trackers: list[CatalogueTracker]) -> bytes:
    """Return trackers as JSON that is the same for the same trackers: what the hash is made of."""
    plain = [tracker.model_dump(mode="json", by_alias=True) for tracker in trackers]
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
