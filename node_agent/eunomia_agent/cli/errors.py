# SPDX-License-Identifier: Apache-2.0
"""What ends a command before it did what was asked. Each message is one sentence for a person."""

from eunomia_agent.errors import AgentError


class CommandError(AgentError):
    """The command line, or a file that it names, asks for what cannot be."""


class MachineLacks(CommandError):
    """This machine lacks what a tracker needs, or does not grant it."""


def one_line(message: str) -> str:
    """Return the first line of a message, in printable characters: names in it may be hostile."""
    line = message.strip().partition("\n")[0]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
