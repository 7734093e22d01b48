# SPDX-License-Identifier: Apache-2.0
"""A tracker's YAML file, and the check of it against its object, both ways."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from eunomia_agent.errors import AgentError
from eunomia_agent.events.kinds import kinds_of
from eunomia_agent.events.layout import SUBJECT_COLUMNS, Column, Layout, Source
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.kernel.chain import CALLS
from eunomia_agent.kernel.errors import ObjectInvalid
from eunomia_agent.kernel.types import Array, Int, Type
from eunomia_agent.trackers.paths import CONDITION, path_columns, path_variables
from eunomia_agent.trackers.ranges import AMONG, among_columns
from eunomia_agent.trackers.variable import variable_name
from eunomia_api.document import Document, DocumentInvalid, Place, read
from eunomia_api.param import shown
from eunomia_api.tracker import (
    CatalogueColumn,
    CatalogueTracker,
    Param,
    TrackerDescription,
)
from eunomia_api.tracker import Column as Described

SUBJECT_HELP: Mapping[str, Described] = {
    "time": Described(help="When it happened.", width=30),
    "pid": Described(help="The process, as the host numbers it.", width=7),
    "tid": Described(help="The thread, as the host numbers it.", width=7),
    "uid": Described(help="The user, as the host numbers it.", width=6),
    "comm": Described(help="The thread's name.", width=16),
}
"""Help for the columns that every event has, from `struct subject`."""
TALLY_HELP: Mapping[str, Described] = {
    **SUBJECT_HELP,
    "time": Described(help="When the interval that the row stands for ended.", width=30),
    "count": Described(help="How many events the row stands for.", width=9),
    "sum": Described(help="The sum of all values."),
    "kernel_stack": Described(help="The kernel's part of the stack, innermost function first."),
    "user_stack": Described(help="The program's part of the stack, innermost function first."),
}
"""Help for columns of tables that need not be described."""


COMMON = frozenset(
    {
        "by_pid",
        "follow_children",
        "cgroup_hierarchy",
        "enforcement",
        "own_cgroup",
        "filters",
        "matches_owners",
        CALLS,
    }
)
"""Variables that trackers have from match.h, filter.h, and of chain.h."""


REFUSING = "lsm/"
"""How sections begin whose programs can refuse what is about to be done."""


class DescriptionError(AgentError):
    """A description is wrong; a line for each reason, beginning with FILE:LINE."""


@dataclass(frozen=True, slots=True)
class Description:
    """A description, with the document that it was read from."""

    tracker: TrackerDescription
    path: Path
    document: Document

    def problem(self, place: Place, reason: str) -> str:
        """Return a reason with the file and line that it is about."""
        return self.document.problem(place, reason)


def load(path: Path) -> Description:
    """Read a description. Raises DescriptionError with file and line, OSError."""
    try:
        return _validated(read(path.name, path.read_bytes()), path)
    except DocumentInvalid as error:
        raise DescriptionError(str(error)) from error


def _validated(document: Document, path: Path) -> Description:
    try:
        tracker = TrackerDescription.model_validate(document.value, strict=True)
    except ValidationError as error:
        reasons = [
            document.problem(part["loc"], f"{_spoken(part['loc'])}: {part['msg']}")
            for part in error.errors()
        ]
        raise DescriptionError("\n".join(reasons)) from None
    return Description(tracker, path, document)


def _spoken(place: Place) -> str:
    names = [str(part) for part in place]
    fit = all(name.isprintable() and len(name) <= 40 for name in names)
    return ".".join(names if fit else map(shown, names))


def check(description: Description, btf: Btf, sections: frozenset[str] | None = None) -> None:
    """Check a description against its object both ways. Raises DescriptionError, with all reasons.

    sections: the ELF sections of the object's programs; None where they are not known.
    """
    try:
        layouts = result_layouts(btf)
    except ObjectInvalid as error:
        raise DescriptionError(description.problem((), f"its object {error}")) from error
    reasons = [
        *_params(description, btf),
        *_conditions(description, btf, layouts),
        *_columns(description, layouts),
        *_metrics(description, layouts),
        *_hooks(description, sections),
        *_denies(description, layouts, sections),
    ]
    if reasons:
        raise DescriptionError("\n".join(reasons))


def _params(description: Description, btf: Btf) -> Iterator[str]:
    variables = btf.section(".rodata")
    used: dict[str, str] = {}
    for name, param in description.tracker.params.items():
        say = partial(description.problem, ("params", name))
        variable = variable_name(name, param.variable)
        if variable not in variables:
            known = ", ".join(variables) or "none"
            yield say(f"param {name}: no variable {variable} in C; there are: {known}")
        elif variable in used:
            yield say(f"param {name}: variable {variable} is param {used[variable]}'s already")
        else:
            yield from _variable(name, param, btf.resolve(variables[variable][0])[1], btf, say)
        used[variable] = name
    for variable in variables.keys() - used.keys() - COMMON:
        if variable.startswith((CONDITION, AMONG)) or variable.removeprefix(f"{CALLS}_") in used:
            continue
        yield description.problem(("params",), f"variable {variable} in C has no param")


def _variable(
    name: str, param: Param, found: Type, btf: Btf, say: Callable[[str], str]
) -> Iterator[str]:
    match param.type, found:
        case "bool", Int(is_bool=True):
            pass
        case "int", Int(is_bool=False) as integer:
            bits = integer.size * 8 - integer.signed
            least = -(1 << bits) if integer.signed else 0
            if (param.min or 0) < least or (param.max or 0) >= 1 << bits:
                yield say(f"param {name}: min and max do not fit into {integer.name} in C")
        case "string", Array(element_id=element, count=count) if _is_char(btf, element):
            if (param.max_length or 0) >= count:
                yield say(f"param {name}: maxLength must be at most {count - 1}, as in C")
        case _:
            yield say(f"param {name}: is {param.type} here and something else in C")


def _is_char(btf: Btf, type_id: int) -> bool:
    found = btf.resolve(type_id)[1]
    return isinstance(found, Int) and found.name == "char"


def _conditions(
    description: Description, btf: Btf, layouts: Mapping[Source, Layout]
) -> Iterator[str]:
    columns = {column.name for layout in layouts.values() for column in layout.columns}
    for column in conditions(btf) - columns - SUBJECT_HELP.keys():
        yield description.problem((), f"WHERE({column}) in C: no result has a column {column}")
    for column in among_columns(btf) - conditions(btf):
        yield description.problem((), f"AMONG({column}) in C: there is no WHERE({column})")


def conditions(btf: Btf) -> frozenset[str]:
    """Return the columns that an object's programs can decide on: those of WHERE() in C."""
    names = {name for name in btf.section(".rodata") if name.startswith(CONDITION)}
    others = names - path_variables(btf)
    return frozenset({*path_columns(btf), *(name.removeprefix(CONDITION) for name in others)})


def _described(description: Description, source: Source) -> Mapping[str, Described]:
    tracker = description.tracker
    match source:
        case "events":
            return tracker.columns
        case "counts":
            return tracker.counts
        case "histogram":
            return tracker.histogram
        case "stacks":
            return tracker.stacks


def _help(source: Source) -> Mapping[str, Described]:
    return SUBJECT_HELP if source == "events" else TALLY_HELP


def _columns(description: Description, layouts: Mapping[Source, Layout]) -> Iterator[str]:
    sources: tuple[Source, ...] = ("events", "counts", "histogram", "stacks")
    meanings: dict[str, str] = {}
    for source in sources:
        place = "columns" if source == "events" else source
        described = _described(description, source)
        owner = "struct event" if source == "events" else f"map {source}"
        if source not in layouts:
            if described:
                yield description.problem((place,), f"there is no map {source} in C")
            continue
        visible = {c.name: c for c in layouts[source].columns if not c.internal}
        own = visible.keys() - SUBJECT_HELP.keys()
        for name in described.keys() - visible.keys():
            known = ", ".join(sorted(own))
            yield description.problem(
                (place, name), f"no column {name} in {owner}; there are: {known}"
            )
        for name in visible.keys() - described.keys() - _help(source).keys():
            yield description.problem((place,), f"column {name} of {owner} has no help")
        for name, column in visible.items():
            if meanings.setdefault(name, column.meaning) != column.meaning:
                yield description.problem(
                    (place, name), f"column {name} is {meanings[name]} in another result"
                )


def _metrics(description: Description, layouts: Mapping[Source, Layout]) -> Iterator[str]:
    for metric_name, metric in description.tracker.metrics.items():
        place = ("metrics", metric_name)
        if metric.source not in layouts:
            yield description.problem(
                (*place, "source"), f"source {metric.source}: no such map in C"
            )
            continue
        columns = layouts[metric.source].columns
        visible = {column.name: column for column in columns if not column.internal}
        for label in metric.labels:
            if label not in visible:
                yield description.problem((*place, "labels"), f"label {label}: no such column")
        for name in metric.names.keys() - set(metric.labels):
            yield description.problem((*place, "names", name), f"names {name}: is no label")
        if metric.value is not None and metric.value not in visible:
            yield description.problem((*place, "value"), f"value {metric.value}: no such column")
        for name, values in metric.wanted.items():
            say = partial(description.problem, (*place, "where", name))
            if name not in visible:
                yield say(f"where {name}: no such column")
            elif visible[name].values and {*values} - {*visible[name].values.values()}:
                known = ", ".join(visible[name].values.values())
                yield say(f"where {name}: must be one of {known}")


def _hooks(description: Description, sections: frozenset[str] | None) -> Iterator[str]:
    if sections is None:
        return
    tracker = description.tracker
    requires: Place = ("requires", "hooks")
    named: list[tuple[Place, str]] = [
        ((*requires, number), hook) for number, hook in enumerate(tracker.requires.hooks)
    ]
    for number, group in enumerate(tracker.requires.any_of):
        named += [(("requires", "anyOf", number), hook) for hook in group]
    named += [(("programs", section), section) for section in tracker.programs]
    for place, hook in named:
        if hook not in sections:
            known = ", ".join(sorted(sections))
            yield description.problem(place, f"no program for {hook}; there are: {known}")
    switches = [(section, each) for section, names in tracker.programs.items() for each in names]
    for section, name in switches:
        if name not in tracker.params or tracker.params[name].type != "bool":
            yield description.problem(
                ("programs", section), f"{name} is no param, or none that is true or false"
            )


def _denies(
    description: Description, layouts: Mapping[Source, Layout], sections: frozenset[str] | None
) -> Iterator[str]:
    denies = description.tracker.denies
    for section in sorted(sections or ()):
        if section.startswith(REFUSING) and section not in denies:
            yield description.problem(("denies",), f"{section} in C has no list of what it refuses")
    columns = [column for layout in layouts.values() for column in layout.columns]
    kinds = set(kinds_of(columns)[1].values())
    for section, refused in denies.items():
        say = partial(description.problem, ("denies", section))
        if sections is not None and section not in sections:
            yield say(f"no program for {section}; there are: {', '.join(sorted(sections))}")
        if not section.startswith(REFUSING):
            yield say(f"{section} refuses nothing: only programs of {REFUSING}… do")
        if unknown := {*refused} - kinds:
            known = ", ".join(sorted(kinds)) or "none"
            yield say(f"no kind {', '.join(sorted(unknown))}; there are: {known}")
        if kinds and not refused:
            yield say(f"says of no kind that it is refused; there are: {', '.join(sorted(kinds))}")


def catalogued(description: Description, btf: Btf) -> CatalogueTracker:
    """Return a checked description with the types of its columns."""
    filterable = conditions(btf)
    rows: dict[str, CatalogueColumn] = {}
    sources: dict[Source, list[str]] = {}
    for source, layout in result_layouts(btf).items():
        described = {**_help(source), **_described(description, source)}
        visible = [column for column in layout.columns if not column.internal]
        sources[source] = [column.name for column in visible]
        for column in visible:
            row = _row_column(column, described[column.name], column.name in filterable)
            rows.setdefault(column.name, row)
    hidden = [
        _row_column(column, SUBJECT_HELP[name], True)
        for name, column in SUBJECT_COLUMNS.items()
        if name in filterable and name not in rows
    ]
    return CatalogueTracker.model_validate(
        {
            **description.tracker.model_dump(),
            "rows": list(rows.values()),
            "hidden": hidden,
            "sources": sources,
        }
    )


def _row_column(column: Column, described: Described, filterable: bool) -> CatalogueColumn:
    return CatalogueColumn(
        filterable=filterable,
        name=column.name,
        type=column.meaning,
        json_type=column.json_type,
        values=list(column.values.values()),
        **described.model_dump(),
    )
