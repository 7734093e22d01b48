# SPDX-License-Identifier: Apache-2.0
"""The options of `eunomia run`: those that all trackers share, and those of one tracker."""

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import typer

from eunomia_agent.cli.catalogue import flag
from eunomia_agent.cli.completion import container_names
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.trackers.catalogue import Param, Tracker
from eunomia_api import param as params
from eunomia_api.param import ParamValue

WHOM, WHAT, OUTPUT = "Whom to trace", "What to keep", "Output"


@dataclass(frozen=True, slots=True)
class Options:
    """What was given on the command line, defaults included; see `declared` for each."""

    container: list[str]
    cgroup: list[Path]
    pid: list[int]
    children: bool
    uid: int | None
    comm: str | None
    where: str
    sample: int
    seconds: float | None
    interval: float
    fmt: Literal["table", "json", "csv"] | None
    output: Path | None
    top: bool
    wide: bool
    buffer: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the options among the values of a command."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


Containers = Annotated[
    list[str],
    typer.Option(
        *("-c", "--container"),
        metavar="NAME",
        help="Only this container: its name, the beginning of its id, its pod or NAMESPACE/POD. "
        "May be given several times.",
        autocompletion=container_names,
    ),
]
Places = Annotated[
    list[Path],
    typer.Option(
        "--cgroup",
        metavar="PATH",
        help="Only what runs in this cgroup and below it: its path from the root of the "
        "hierarchy, or its folder. May be given several times.",
    ),
]
Pids = Annotated[
    list[int],
    typer.Option(
        *("-p", "--pid"),
        min=1,
        metavar="PID",
        help="Only this process. May be given several times.",
    ),
]
Children = Annotated[
    bool, typer.Option("--children", help="With -p: what descends from the process, too.")
]
Interval = Annotated[
    float,
    typer.Option(
        *("-i", "--interval"),
        metavar="SECONDS",
        help="Time between two readings of what the kernel counts.",
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        *("-o", "--output"),
        metavar="DIR",
        help="Write to files in this folder, one a container; each is rotated at 64 MiB.",
    ),
]
Buffer = Annotated[
    int,
    typer.Option(
        "--buffer",
        min=1,
        max=1024,
        metavar="MIB",
        help="Memory of the kernel for what a tracker has to hand over. What comes while it is "
        "full is lost, and counted as such; there is no other limit to how many events pass.",
    ),
]


def declared(
    *,
    container: Containers = [],  # noqa: B006
    cgroup: Places = [],  # noqa: B006
    pid: Pids = [],  # noqa: B006
    children: Children = False,
    uid: Annotated[
        int | None,
        typer.Option("-u", "--uid", min=0, metavar="UID", help="Only this user, by number."),
    ] = None,
    comm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only threads of this name.")
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            metavar="CEL",
            help="Only rows for which this holds: an expression over the columns, such as "
            "'uid == 0 && path.startsWith(\"/etc/\")'. What the kernel can decide, it does.",
        ),
    ] = "",
    sample: Annotated[
        int, typer.Option(min=1, metavar="N", help="Keep one event in N; the others are counted.")
    ] = 1,
    seconds: Annotated[
        float | None,
        typer.Option("-T", "--duration", metavar="SECONDS", help="End after so many seconds."),
    ] = None,
    interval: Interval = 1.0,
    fmt: Annotated[
        Literal["table", "json", "csv"] | None,
        typer.Option(help="How rows are written.  [default: table; json with -o]"),
    ] = None,
    output: Folder = None,
    top: Annotated[
        bool, typer.Option("--top", help="Show counts, most first, refreshed in place.")
    ] = False,
    wide: Annotated[
        bool, typer.Option("-w", "--wide", help="Do not cut lines at the width of the terminal.")
    ] = False,
    buffer: Buffer = 16,
) -> None:
    """Declare the options that all trackers share; never called."""


def spellings(function: Callable[..., Any]) -> dict[str, str]:
    """Return how a config file calls the options of a command → their names in Python."""
    found: dict[str, str] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        for option in getattr(parameter.annotation, "__metadata__", ()):
            told = (option.default, *(option.param_decls or ()))  # the first stands in its place
            flags = [each for each in told if isinstance(each, str) and each.startswith("--")]
            found |= {each.removeprefix("--"): name for each in flags or [f"--{name}"]}
    return found


Run = Callable[[Options, Mapping[str, ParamValue]], None]


VALUES = inspect.Parameter.VAR_KEYWORD
SHARED = inspect.signature(declared).parameters
DEFAULTS = {name: parameter.default for name, parameter in SHARED.items()}


def command(run: Run, tracker: Tracker) -> Callable[..., None]:
    """Return a function for Typer whose options are the shared ones and those of a tracker.

    run is called with both; of the tracker's, with those that differ from their default.
    """
    names = {python_name(param): param for param in tracker.params}
    flags = {f"--{each}" for each in spellings(declared)} | {"--help"}

    def call(**values: Any) -> None:
        given: dict[str, ParamValue] = {}
        for name, param in names.items():
            found = tracker.params[param]
            if values[name] != found.default:
                given[param] = _checked(param, found, values[name])
        run(Options.of(values), given)

    own = [_parameter(name, param, tracker, flags) for name, param in names.items()]
    return _declare(call, [*own, *SHARED.values()])


def with_shared(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function for Typer with the options that all trackers share in place of `**values`.

    Its own parameters have to be keyword-only.
    """
    own = [each for each in inspect.signature(function).parameters.values() if each.kind != VALUES]
    return _declare(function, [*own, *SHARED.values()])


def _declare(
    function: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function


def python_name(name: str) -> str:
    """Return the name of a param as that of a Python parameter, none of the shared ones'."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return f"{snake}_" if snake in SHARED or keyword.iskeyword(snake) else snake


def _parameter(name: str, param: str, tracker: Tracker, taken: set[str]) -> inspect.Parameter:
    found = tracker.params[param]
    option = flag(param)
    if option in taken:
        option = f"--{tracker.name}-{option.removeprefix('--')}"
    kind: Any = {"bool": bool, "int": int, "string": str}[found.type]
    if found.type == "bool" and found.default:
        option = f"{option}/--no-{option.removeprefix('--')}"
    told = f"{found.help} At most {found.max_length} bytes." if found.max_length else found.help
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=found.default,
        annotation=Annotated[kind, typer.Option(option, help=told, min=found.min, max=found.max)],
    )


def _checked(name: str, found: Param, value: object) -> ParamValue:
    try:
        return params.check(found, value)
    except ValueError as error:
        raise CommandError(f"{flag(name)} {error}") from None
