# SPDX-License-Identifier: Apache-2.0
"""The commands of `eunomia` and their options. What each does is imported once it is called."""

# ruff: noqa: PLC0415  (a command is to start at once: it pays for its own imports alone)
from pathlib import Path
from typing import Annotated, Any

import typer

from eunomia_agent.cli import rule_commands, seccomp_commands
from eunomia_agent.cli.catalogue import CORE, catalogue, tracker
from eunomia_agent.cli.command import Command, Commands, Form, Told, say
from eunomia_agent.cli.completion import tracker_names
from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.options import (
    DEFAULTS,
    Buffer,
    Children,
    Containers,
    Folder,
    Interval,
    Options,
    Pids,
    command,
    declared,
    spellings,
    with_shared,
)

app = typer.Typer(
    name="eunomia",
    cls=Commands,
    help="What do the processes and containers of this machine do? eBPF trackers tell.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Trackers(Commands):
    """A command for each tracker of the catalogue, made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all trackers."""
        return sorted(catalogue().trackers)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a tracker. Raises CommandError."""
        found = tracker(cmd_name)

        def run(options: Options, params: Any) -> None:
            from eunomia_agent.cli.run import run_tracker

            run_tracker(found, options, params)

        columns = ", ".join(column.name for column in found.columns)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(
            cmd_name,
            cls=Command,
            help=found.help,
            epilog=f"Columns: {columns}. `eunomia trackers {cmd_name}` tells more.",
        )(command(run, found))
        return typer.main.get_command(single)


run_app = typer.Typer(cls=Trackers, rich_markup_mode=None, subcommand_metavar="TRACKER")
app.add_typer(run_app, name="run")
app.add_typer(rule_commands.app)
app.add_typer(seccomp_commands.app)


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take defaults from a file: of all commands, or of the one that it is given to."""
    if path is not None:
        from eunomia_agent.cli import config

        context.obj = config.load(path, config_keys())
        defaults = context.obj.defaults
        context.default_map = defaults.get("daemon", {}) if context.parent else defaults
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        callback=_load_config,
        is_eager=True,
        help="Take defaults for options, and the daemon's trackers, from this file (TOML).",
    ),
]


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"eunomia {version('eunomia')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    config: ConfigFile = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Tell the version, and end."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        say(context.get_help())


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
    chosen = context.invoked_subcommand
    if chosen is not None:
        if file is not None:
            raise CommandError(f"-f says which trackers to run: leave out {chosen}")
        own = (context.default_map or {}).get(chosen, {})
        context.default_map = {chosen: {**given, **own}}
    elif file is not None:
        from eunomia_agent.cli.run import run_file

        run_file(file, Options.of(values))
    else:
        say(context.get_help())


def config_keys() -> dict[str, dict[str, str]]:
    """Return what a config file may say of each command: its options → their names in Python."""
    return {
        "run": spellings(declared),
        "daemon": spellings(_daemon),
        "server": spellings(_server),
    }


@app.command("trackers")
def _trackers(
    name: Annotated[
        str | None, typer.Argument(metavar="[TRACKER]", autocompletion=tracker_names)
    ] = None,
    fmt: Told = Form.TABLE,
) -> None:
    """List the trackers; of one, tell its options, columns and hooks."""
    from eunomia_agent.cli import trackers

    if name is None:
        say(trackers.list_as_json() if fmt is Form.JSON else trackers.list_as_text())
    else:
        found = tracker(name)
        say(trackers.one_as_json(found) if fmt is Form.JSON else trackers.one_as_text(found))


@app.command("daemon")
def _daemon(
    *,
    context: typer.Context,
    container: Containers = [],  # noqa: B006
    pid: Pids = [],  # noqa: B006
    children: Children = False,
    output: Folder = None,
    metrics: Annotated[
        int | None,
        typer.Option(
            "--metrics", min=1, max=65535, metavar="PORT", help="Serve /metrics on this port, too."
        ),
    ] = None,
    interval: Interval = 10.0,
    buffer: Buffer = 16,
    no_rules: Annotated[
        bool, typer.Option("--no-rules", help="Judge nothing by rules, and tell rows alone.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Run the trackers of a config file until SIGTERM; where it names none, the core trackers.

    Judge by the rules of the file; where it names none, by those of the group container-escape.
    Rows and alerts are JSON lines, on standard output or in files.
    """
    from eunomia_agent.cli import service
    from eunomia_agent.cli.config import Config, core_trackers

    told = context.obj or Config({}, [])
    service.daemon(
        told.daemon or core_trackers(CORE),
        service.Whom(container, pid, children),
        output,
        None if no_rules else told.rules,
        port=metrics,
        interval=interval,
        buffer=buffer,
    )


@app.command("server")
def _server(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TRACKER]...", autocompletion=tracker_names),
    ] = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Serve metrics for Prometheus.")
    ] = False,
    listen: Annotated[
        int, typer.Option("--listen", min=1, max=65535, metavar="PORT", help="Where to listen.")
    ] = 9464,
    container: Containers = [],  # noqa: B006
    pid: Pids = [],  # noqa: B006
    children: Children = False,
    interval: Interval = 10.0,
    buffer: Buffer = 16,
) -> None:
    """Serve metrics of what all containers do: of the given trackers, or of the core ones."""
    from eunomia_agent.cli import service
    from eunomia_agent.cli.config import core_trackers
    from eunomia_agent.cli.job import Use

    if not prometheus:
        raise CommandError("what is served has to be said: give --prometheus")
    service.server(
        [Use(tracker(name).name, {}) for name in names or ()] or core_trackers(CORE),
        service.Whom(container, pid, children),
        port=listen,
        interval=interval,
        buffer=buffer,
    )


@app.command("doctor")
def _doctor(fmt: Told = Form.TABLE) -> None:
    """Tell what this machine can run, and what to install or grant for the rest."""
    from eunomia_agent.cli import doctor

    findings = doctor.examine()
    say(doctor.as_json(findings) if fmt is Form.JSON else doctor.as_text(findings))
    raise typer.Exit(0 if doctor.is_fit(findings) else 1)
