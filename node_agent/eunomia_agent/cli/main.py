# SPDX-License-Identifier: Apache-2.0
"""The entry point of `eunomia`, and what its errors look like."""

import logging
import os
import sys
import traceback

import typer

from eunomia_agent.cli.commands import app
from eunomia_agent.cli.errors import one_line
from eunomia_agent.errors import AgentError

USAGE = 2
"""The exit code of whatever could not be done as it was asked for."""


def main() -> None:
    """Run the command line; never returns."""
    if os.environ.get("EUNOMIA_DEBUG"):
        form = "%(relativeCreated)6d ms %(name)s: %(message)s"
        logging.basicConfig(level=logging.DEBUG, format=form)
    else:
        logging.disable()  # what a person should know is told in the command's own words
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str]) -> int:
    """Do what a command line asks for; return how it ends. What goes wrong is told."""
    try:
        code = app(args=arguments, prog_name="eunomia", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _refuse(error.format_message().replace("Value error, ", ""))
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
    """Tell why it ends, in one line; the rest is for who debugs."""
    if os.environ.get("EUNOMIA_DEBUG"):
        traceback.print_exc()
    sys.stderr.write(f"eunomia: {one_line(message)}\n")
    return code
