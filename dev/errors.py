# SPDX-License-Identifier: Apache-2.0
"""Everything that the tools under dev/ raise on purpose."""

from __future__ import annotations


class DevError(Exception):
    """The root: its text is for the person at the terminal."""


class CommandFailed(DevError):
    """A command of the system ended with an error."""


class MachineUnfit(DevError):
    """This machine lacks something, or runs something that stands in the way."""


class NotReady(DevError):
    """A component died, or did not become ready in time."""
