# SPDX-License-Identifier: Apache-2.0
"""The commands of `eunomia rules`. What each does is imported once it is called."""

# ruff: noqa: PLC0415  (a command is to start at once: it pays for its own imports alone)
import sys
from pathlib import Path
from typing import Annotated

import typer

from eunomia_agent.cli.command import Commands, Form, Told, say

BROKEN = 1
"""The exit code where rules, or their examples, are not what they should be."""

app = typer.Typer(
    name="rules",
    cls=Commands,
    help="Rules of what a container may do: the library's, and your own.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command("list")
def _list(fmt: Told = Form.TABLE) -> None:
    """List the rules of the library."""
    from eunomia_agent.cli import rules

    say(rules.list_as_json() if fmt is Form.JSON else rules.list_as_text())


@app.command("show")
def _show(
    name: Annotated[str, typer.Argument(metavar="GROUP/NAME")], fmt: Told = Form.TABLE
) -> None:
    """Tell what a rule means, what to do when it is broken, and how it is judged."""
    from eunomia_agent.cli import rules

    say(rules.one_as_json(name) if fmt is Form.JSON else rules.one_as_text(name))


@app.command("test")
def _test(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Rules, or a SecurityPolicy (YAML).")
    ],
    events: Annotated[
        Path | None,
        typer.Option(
            "--events",
            metavar="DIR",
            help="Judge the rows in this folder, or file: JSON lines, as `eunomia run --fmt json` "
            "and the daemon write them. Without it, the examples in FILE are tried.",
        ),
    ] = None,
    kubernetes_api: Annotated[
        str,
        typer.Option(
            "--kubernetes-api",
            metavar="ADDRESS",
            help="What `kubernetes_api` stands for in conditions, which rows do not tell: the "
            "address of the service `kubernetes` where they were recorded.",
        ),
    ] = "",
    fmt: Told = Form.TABLE,
) -> None:
    """Say what the rules of a file would have told of recorded rows: the same code as live.

    Exit code 1 where a rule is wrong, or one of its examples.
    """
    from eunomia_agent.cli import rules
    from eunomia_agent.cli.errors import one_line

    outcome = rules.test(file, events, kubernetes_api)
    told = outcome.as_json() if fmt is Form.JSON else outcome.as_text()
    if told:
        say(told)
    for problem in outcome.problems:
        sys.stderr.write(f"eunomia: {one_line(problem)}\n")
    sys.stderr.write(f"{outcome.summary}\n")
    if outcome.problems:
        raise typer.Exit(BROKEN)
