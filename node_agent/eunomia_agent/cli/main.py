# SPDX-License-Identifier: Apache-2.0
"""The entry point of `eunomia`: the commands, and what their errors look like."""

import logging
import os
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eunomia_agent.cli.catalogue import catalogue, tracker
from eunomia_agent.cli.completion import tracker_names
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.options import DEFAULTS, Options, command, with_shared
from eunomia_agent.errors import AgentError

USAGE = 2
"""The exit code of whatever could not be done as it was asked for."""


class Trackers(TyperGroup):
    """A command for each tracker of the catalogue, made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all trackers."""
        return sorted(catalogue().trackers)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a tracker. Raises CommandError."""
        from eunomia_agent.cli.run import run_tracker  # noqa: PLC0415

        found = tracker(cmd_name)

        def run(options: Options, params: Any) -> None:
            run_tracker(found, options, params)

        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, help=found.help)(command(run, found))
        return typer.main.get_command(single)


app = typer.Typer(
    name="eunomia",
    help="What do the processes and containers of this machine do? eBPF trackers tell.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
run_app = typer.Typer(cls=Trackers, rich_markup_mode=None, subcommand_metavar="TRACKER")
app.add_typer(run_app, name="run", help="Run a tracker.")


@run_app.callback(invoke_without_command=True)
@with_shared
def _run(
    *,
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(
            *("-f", "--file"),
            metavar="FILE",
            help="Run what this TraceJob or ClusterTraceJob says (YAML).",
        ),
    ] = None,
    **values: Any,
) -> None:
    """Run a tracker, or with -f the trackers of a job."""
    given = {name: value for name, value in values.items() if value != DEFAULTS[name]}
    if context.invoked_subcommand is not None:
        if file is not None:
            raise CommandError(
                f"-f says which trackers to run: leave out {context.invoked_subcommand}"
            )
        context.default_map = {context.invoked_subcommand: given}
    elif file is not None:
        from eunomia_agent.cli.run import run_file  # noqa: PLC0415

        run_file(file, Options.of(values))
    else:
        say(context.get_help())


class Text(StrEnum):
    """How a command tells what it found."""

    TABLE = "table"
    JSON = "json"


Told = Annotated[Text, typer.Option("--fmt", help="For people, or for programs.")]


@app.command("trackers")
def _trackers(
    name: Annotated[
        str | None, typer.Argument(metavar="[TRACKER]", autocompletion=tracker_names)
    ] = None,
    fmt: Told = Text.TABLE,
) -> None:
    """List the trackers; of one, tell its options, columns and hooks."""
    from eunomia_agent.cli import trackers  # noqa: PLC0415

    if name is None:
        say(trackers.list_as_json() if fmt is Text.JSON else trackers.list_as_text())
    else:
        found = tracker(name)
        say(trackers.one_as_json(found) if fmt is Text.JSON else trackers.one_as_text(found))


@app.command("doctor")
def _doctor(fmt: Told = Text.TABLE) -> None:
    """Tell what this machine can run, and what to install or grant for the rest."""
    from eunomia_agent.cli import doctor  # noqa: PLC0415

    findings = doctor.examine()
    say(doctor.as_json(findings) if fmt is Text.JSON else doctor.as_text(findings))
    raise typer.Exit(0 if doctor.is_fit(findings) else 1)


def say(text: str) -> None:
    """Print to standard output."""
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """Run the command line; never returns."""
    if os.environ.get("EUNOMIA_DEBUG"):
        logging.basicConfig(
            level=logging.DEBUG, format="%(relativeCreated)6d ms %(name)s: %(message)s"
        )
    else:
        logging.disable()  # what a person should know is told in the command's own words
    sys.exit(_exit_code(sys.argv[1:]))


def _exit_code(arguments: list[str]) -> int:
    try:
        code = app(args=arguments, prog_name="eunomia", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _refuse(error.format_message())
    except AgentError as error:
        return _refuse(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return 0
    except Exception as error:  # whatever it is, nobody wants to read a traceback unasked
        return _refuse(
            f"internal error: {error!r:.300}; EUNOMIA_DEBUG=1 in the environment shows where", 1
        )
    return code if isinstance(code, int) else 0


def _refuse(message: str, code: int = USAGE) -> int:
    if os.environ.get("EUNOMIA_DEBUG"):
        traceback.print_exc()
    sys.stderr.write(f"eunomia: {message}\n")
    return code
