# SPDX-License-Identifier: Apache-2.0
"""The commands `eunomia seccomp …` and their options. What each does is imported once it runs."""

# ruff: noqa: PLC0415  (a command is to start at once: it pays for its own imports alone)
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eunomia_agent.cli.command import Command, Form, Told
from eunomia_agent.cli.options import Pids


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

Words = Annotated[
    list[str] | None, typer.Argument(metavar="-- COMMAND ARGUMENT", show_default=False)
]
Seconds = Annotated[
    float | None,
    typer.Option("-T", "--seconds", metavar="SECONDS", help="End after so long."),
]
A_PROFILE = "FILE, or FILE:VERSION of a SeccompProfile that kubectl wrote with -o json"


@app.command("record", cls=Command)
def _record(
    *,
    command: Words = None,
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
    seconds: Seconds = None,
    output: Annotated[
        Path | None,
        typer.Option(*("-o", "--output"), metavar="FILE", help="Write the profile to this file."),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="None|RuntimeDefault|FILE",
            help="What else it allows: nothing, what runtimes do, or what another profile does.",
        ),
    ] = "None",
    allow: Annotated[
        list[str],
        typer.Option("--allow", metavar="CALL", help="Allow this call as well."),
    ] = [],  # noqa: B006
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="NAME",
            help="With --source: this container gets the profile. One of Docker's is made anew for "
            "that, and the one before stays, stopped; of pods it is told how.",
        ),
    ] = "",
) -> None:
    """Record what is called until the command ends, for some seconds, or until Ctrl-C.

    The profile goes to standard output, or to a file, in the form that runtimes take.
    """
    from eunomia_agent.cli import recorder
    from eunomia_agent.cli.watch import Whom

    whom = Whom(tuple(command or ()), tuple(pid), container, seconds, target)
    made = recorder.Made(output, base, tuple(allow))
    raise typer.Exit(recorder.record(whom, made))


@app.command("audit", cls=Command)
def _audit(
    *,
    profile: Annotated[str, typer.Option("--profile", metavar="FILE", help=A_PROFILE)],
    command: Words = None,
    pid: Pids = [],  # noqa: B006
    container: Annotated[
        str,
        typer.Option(*("-c", "--container"), metavar="NAME", help="This container, as for record."),
    ] = "",
    seconds: Seconds = None,
    output: Annotated[
        Path | None,
        typer.Option(*("-o", "--output"), metavar="FILE", help="Write what is found to this file."),
    ] = None,
    fmt: Told = Form.TABLE,
) -> None:
    """Tell what a profile would refuse, and who called it: nothing is refused by it.

    Exit code 1 where there is any such call, else that of the command.
    """
    from eunomia_agent.cli import auditor
    from eunomia_agent.cli.watch import Whom

    whom = Whom(tuple(command or ()), tuple(pid), container, seconds)
    raise typer.Exit(auditor.audit(whom, profile, output, as_json=fmt is Form.JSON))


@app.command("diff", cls=Command)
def _diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help=A_PROFILE)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another one.")],
    fmt: Told = Form.TABLE,
) -> None:
    """Tell what one profile allows and another does not. Exit code 1 where they differ."""
    from eunomia_agent.cli import comparison
    from eunomia_agent.cli.command import say

    found = comparison.compare(old, new)
    if told := found.as_json() if fmt is Form.JSON else found.as_text():
        say(told)
    raise typer.Exit(int(found.differ))


@app.command("run", cls=Command)
def _run(
    *,
    profile: Annotated[str, typer.Option("--profile", metavar="FILE", help=A_PROFILE)],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND ARGUMENT")],
) -> None:
    """Run a command under a profile. It gains no privileges by an exec: no_new_privs is on."""
    from eunomia_agent.cli import confine

    confine.run(profile, command)
