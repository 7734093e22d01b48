# SPDX-License-Identifier: Apache-2.0
"""Commands of Typer that start without delay, and how they tell what they found."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from eunomia_agent.cli.plain import spare


class Command(TyperCommand):
    """A command that starts without delay."""

    def get_params(self, ctx: Any) -> Any:
        """Return its options."""
        found = super().get_params(ctx)
        spare(found)
        return found


class Commands(TyperGroup):
    """Commands that start without delay."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options that all of them share."""
        found = super().get_params(ctx)
        spare(found)
        return found


class Form(StrEnum):
    """How a command tells what it found."""

    TABLE = "table"
    JSON = "json"


Told = Annotated[Form, typer.Option("--fmt", help="For people, or for programs.")]


def say(text: str) -> None:
    """Print to standard output."""
    sys.stdout.write(f"{text}\n")
