# SPDX-License-Identifier: Apache-2.0
"""A rule: which rows are wrong, how many of them in how long, and what is told of it."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from eunomia_api.duration import PATTERN, seconds
from eunomia_api.model import Written
from eunomia_api.where import MAX_CHARACTERS

MAX_COUNT = 10_000
MAX_DISTINCT = 1_000
LONGEST_WINDOW_SECONDS = 3600
LONGEST_SILENCE_SECONDS = 24 * 3600
LONGEST_PAUSE = "10s"
"""Between two rows that go on, where a rule with `for` has no `within`."""

RuleName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Prose = Annotated[str, Field(max_length=1024)]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)]
ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
Condition = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


def _window(text: str) -> str:
    if not 0 < seconds(text) <= LONGEST_WINDOW_SECONDS:
        raise ValueError(f"{text} is out of bounds: more than 0s, at most 1h")
    return text


def _silence(text: str) -> str:
    if not 0 <= seconds(text) <= LONGEST_SILENCE_SECONDS:
        raise ValueError(f"{text} is out of bounds: at least 0s, at most 24h")
    return text


_Duration = Annotated[str, Field(pattern=PATTERN, max_length=32)]
Window = Annotated[_Duration, AfterValidator(_window)]
Silence = Annotated[_Duration, AfterValidator(_silence)]


class Severity(StrEnum):
    """How bad it is."""

    EVENT = "event"
    WARNING = "warning"
    ALERT = "alert"


class Response(StrEnum):
    """What is done about it."""

    REPORT = "Report"
    KILL = "Kill"
    DENY = "Deny"
    ISOLATE = "Isolate"


class RuleException(Written):
    """What a rule passes over."""

    name: RuleName
    """What it is, in a word."""
    when: Condition
    """Rows for which this is true are no case of the rule: CEL, as in the rule."""


class Rule(Written):
    """Which rows are wrong, how many of them in how long, and what is told of it."""

    name: RuleName
    """The rule's name."""
    description: Prose = ""
    """What it means when the rule is broken."""
    remedy: Prose = ""
    """What to do then."""
    severity: Severity = Severity.WARNING
    """event, warning or alert."""
    tags: Annotated[list[Tag], Field(max_length=16)] = []
    """MITRE ATT&CK techniques, such as T1611, and other words to look for."""
    events: Annotated[list[RuleName], Field(min_length=1, max_length=8)]
    """The trackers whose rows the rule reads. Each column that it names must be one of each."""
    when: Condition
    """Which rows break the rule: CEL over the trackers' columns and namespace, pod, pod_uid,
    container, container_id, image, node and labels, as in: writing && labels["app"] == "web"."""
    exceptions: Annotated[list[RuleException], Field(max_length=32)] = []
    """What is passed over all the same."""
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    """So many rows of one group, in the time that within gives, break the rule."""
    within: Window | None = None
    """In how long count must be reached, or the longest pause of a rule with for (10s unless told):
    a Go duration (10s, 5m) of at most 1h."""
    distinct: ColumnName | None = None
    """Count different values of this column instead of rows."""
    for_: Annotated[Window | None, Field(alias="for")] = None
    """Rows of one group must go on for so long, with no pause longer than within: a Go duration of
    at most 1h."""
    group_by: Annotated[list[ColumnName], Field(min_length=1, max_length=8)] = ["container_id"]
    """Columns whose values make a group: rows are counted, and alerts are told, by group."""
    deduplicate: Silence = "60s"
    """For how long after an alert there is no other one of the same group, as a Go duration of at
    most 24h. 0s: each is told."""
    message: Annotated[str, Field(min_length=1, max_length=512)]
    """What an alert says. {path} stands for the value of the column path; {{ and }} for braces."""
    response: Response | None = None
    """What is done about it. Absent: what the policy says for the severity."""

    @property
    def within_ms(self) -> int:
        """How far apart rows may be, or the time for all of count, in ms; 0: neither matters."""
        pause = LONGEST_PAUSE if self.for_ is not None else "0s"
        return round(seconds(self.within or pause) * 1000)

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.count > 1 and self.for_ is not None:
            raise ValueError("count and for exclude each other: make two rules")
        if self.count > 1 and self.within is None:
            raise ValueError("count needs within: in how long so many must be seen")
        if self.within is not None and self.count == 1 and self.for_ is None:
            raise ValueError("within needs count (more than 1) or for")
        if self.distinct is not None and not 1 < self.count <= MAX_DISTINCT:
            raise ValueError(f"distinct needs a count from 2 to {MAX_DISTINCT}, not {self.count}")
        for what, names in (("events", self.events), ("groupBy", self.group_by)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} names twice: {', '.join(twice)}")
        return self


class Example(Written):
    """Rows that a rule is tried on: one, or many like it."""

    tracker: RuleName
    """Whose rows they are."""
    row: dict[ColumnName, Any]
    """Columns of the row, as `eunomia run --fmt json` prints them. Absent: 0, false, ""."""
    times: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    """How many such rows come."""
    every: Window = "100ms"
    """How far they are apart."""
    vary: ColumnName | None = None
    """A column that differs in each: a number goes up by one, a text gets the number behind it."""


class Examples(Written):
    """What must break a rule, and what must not; each is tried by itself."""

    fires: Annotated[list[Example], Field(min_length=1, max_length=32)]
    silent: Annotated[list[Example], Field(min_length=1, max_length=32)]


class LibraryRule(Rule):
    """A rule of a file, which brings its own tests."""

    examples: Examples | None = None

    @model_validator(mode="after")
    def _policy_responds(self) -> Self:
        if self.response not in (None, Response.REPORT):
            raise ValueError(f"response: {self.response} can only be asked for in a policy")
        return self


class RuleGroup(Written):
    """A file of rules."""

    group: RuleName
    help: Annotated[str, Field(min_length=1, max_length=1024)]
    """What the rules have in common."""
    rules: Annotated[list[LibraryRule], Field(min_length=1, max_length=128)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each rule may stand once; twice: {', '.join(twice)}")
        return self
