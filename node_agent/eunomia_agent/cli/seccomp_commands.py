# SPDX-License-Identifier: Apache-2.0
"""The commands `eunomia seccomp …` and their options. What each does is imported once it runs."""

# ruff: noqa: PLC0415  (a command is to start at once: it pays for its own imports alone)
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from eunomia_agent.cli.options import Pids
from eunomia_agent.cli.plain import spare


class Base(StrEnum):
    """What a profile allows beside what was recorded."""

    NONE = "None"
    RUNTIME_DEFAULT = "RuntimeDefault"


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        found = super().get_params(ctx)
        spare(found)
        return found


class _Record(TyperGroup):
    """Takes `record` for what is meant where no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        known = {*self.list_commands(ctx), "--help"}
        return super().parse_args(ctx, args if args and args[0] in known else ["record", *args])


app = typer.Typer(
    name="seccomp",
    cls=_Record,
    help="Record the system calls of a command, process or container, and make a profile of them.",
    rich_markup_mode=None,
)

Command = Annotated[
    list[str] | None, typer.Argument(metavar="-- COMMAND ARGUMENT", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option(*("-o", "--output"), metavar="FILE", help="Write the profile to this file."),
]


@app.command("record", cls=_Command)
def _record(
    *,
    command: Command = None,
    pid: Pids = [],  # noqa: B006
    container: Annotated[
        str,
        typer.Option(
            *("-c", "--container", "--source"),
            metavar="NAME",
            help="This container: its name, the beginning of its id, its pod or NAMESPACE/POD. "
            "A name stands for all that have it, and will have it.",
        ),
    ] = "",
    seconds: Annotated[
        float | None,
        typer.Option("-T", "--seconds", metavar="SECONDS", help="End after so long."),
    ] = None,
    output: Output = None,
    base: Annotated[
        Base,
        typer.Option(
            "--base", help="What the profile allows beside it: nothing, or what runtimes do."
        ),
    ] = Base.NONE,
    allow: Annotated[
        list[str],
        typer.Option("--allow", metavar="CALL", help="Allow this call as well."),
    ] = [],  # noqa: B006
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="NAME",
            help="With --source: the container that the profile is for; tells how it gets it.",
        ),
    ] = "",
) -> None:
    """Record what is called until the command ends, for some seconds, or until Ctrl-C.

    The profile goes to standard output, or to a file, in the form that runtimes take.
    """
    from eunomia_agent.cli import recorder

    whom = recorder.Whom(tuple(command or ()), tuple(pid), container, target)
    made = recorder.Made(output, base.value, tuple(allow))
    code = recorder.record(whom, made, seconds)
    raise typer.Exit(code)


@app.command("run", cls=_Command)
def _run(
    *,
    profile: Annotated[
        Path,
        typer.Option("--profile", metavar="FILE", help="The profile, as `record` writes it."),
    ],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND ARGUMENT")],
) -> None:
    """Run a command under a profile. It gains no privileges by an exec: no_new_privs is on."""
    from eunomia_agent.cli import confine

    confine.run(profile, command)
