# SPDX-License-Identifier: Apache-2.0
"""`eunomia trackers`: what the catalogue tells of all trackers, and of one."""

import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence

from eunomia_agent.cli.catalogue import catalogue, flag
from eunomia_agent.cli.machine import ungranted
from eunomia_agent.trackers.catalogue import Column, Param, Tracker
from eunomia_agent.trackers.support import lacks, offered, sections
from eunomia_api.param import allowed

INDENT = 2
LEAST_TEXT = 32


def list_as_text() -> str:
    """Return a line for each tracker."""
    rows = [("TRACKER", "RESULTS", "")]
    rows += [(t.name, ", ".join(t.sources), t.help) for t in catalogue().trackers.values()]
    return "\n".join(table(rows, indent=0))


def list_as_json() -> str:
    """Return all trackers as one JSON object a line."""
    return "\n".join(json.dumps(_plain(each)) for each in catalogue().trackers.values())


def one_as_json(tracker: Tracker) -> str:
    """Return a tracker, with what this kernel lacks for it, as a JSON object.

    hooks: why each is not to be had; empty where it is, null where that cannot be told.
    """
    if ungranted():
        here: dict[str, object] = {"hooks": dict.fromkeys(sections(tracker)), "missing": None}
    else:
        hooks = {hook: reason or "" for hook, reason in offered(tracker).items()}
        here = {"hooks": hooks, "missing": lacks(tracker)}
    return json.dumps({**_plain(tracker), **here}, indent=2)


def one_as_text(tracker: Tracker) -> str:
    """Return a tracker's help, params and columns, and which of its hooks this kernel offers."""
    lines = [f"{tracker.name}: {tracker.help}", "", "Options"]
    lines += table([_told(name, param) for name, param in tracker.params.items()])
    if not tracker.params:
        lines.append("  none of its own")
    for source, names in tracker.sources.items():
        lines += ["", f"Columns of its {source}"]
        lines += table([_column(each) for each in tracker.columns if each.name in names])
    lines += ["", "Hooks"]
    if ungranted():
        lines += [f"  {section}" for section in sections(tracker)]
        return "\n".join([*lines, "", "As root it can be told whether this kernel has them."])
    lines += table(
        [(hook, reason or "this kernel has it") for hook, reason in offered(tracker).items()]
    )
    missing = lacks(tracker)
    lines += ["", f"It cannot run here: {missing}" if missing else "It can run here."]
    return "\n".join(lines)


def _told(name: str, param: Param) -> tuple[str, str, str]:
    value = {"bool": "", "int": " N", "string": " TEXT"}[param.type]
    option = flag(name)
    if param.default is True:
        option = f"--[no-]{option.removeprefix('--')}"
    default = "on" if param.default is True else param.default or ""
    default = f" Default: {default}." if default else ""
    bounds = "" if param.type == "bool" else f" Takes {allowed(param)}."
    return option + value, param.type, f"{param.help}{bounds}{default}"


def _column(column: Column) -> tuple[str, str, str]:
    unit = f" In {column.unit}." if column.unit else ""
    filtered = " Filtered in the kernel." if column.filterable else ""
    return column.name, column.json_type, f"{column.help}{unit}{filtered}"


def _plain(tracker: Tracker) -> dict[str, object]:
    return {
        "name": tracker.name,
        "help": tracker.help,
        "params": {
            name: {
                "type": param.type,
                "default": param.default,
                "min": param.min,
                "max": param.max,
                "maxLength": param.max_length,
                "help": param.help,
            }
            for name, param in tracker.params.items()
        },
        "results": {source: list(names) for source, names in tracker.sources.items()},
        "columns": [
            {
                "name": column.name,
                "type": column.json_type,
                "unit": column.unit,
                "values": list(column.values),
                "filterable": column.filterable,
                "help": column.help,
            }
            for column in tracker.columns
        ],
    }


def table(rows: Sequence[tuple[str, ...]], *, indent: int = INDENT) -> Iterator[str]:
    """Give aligned lines; the last column is wrapped at the terminal's width."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    start = indent + sum(width + 2 for width in widths)
    room = max(LEAST_TEXT, shutil.get_terminal_size().columns - start)
    for *cells, text in rows:
        head = " " * indent + "".join(
            cell.ljust(width + 2) for cell, width in zip(cells, widths, strict=True)
        )
        first, *others = textwrap.wrap(text, room) or [""]
        yield f"{head}{first}".rstrip()
        yield from (" " * start + other for other in others)
