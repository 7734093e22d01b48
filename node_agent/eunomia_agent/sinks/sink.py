# SPDX-License-Identifier: Apache-2.0
"""What every sink is."""

from typing import Protocol

from eunomia_agent.sinks.rows import Rows


class Sink(Protocol):
    """Takes the rows of one job. Used by one thread at a time, which it may block on a disk."""

    name: str

    @property
    def limited(self) -> int:
        """How many rows, from the last, `write` refused as above a rate; what else it did is lost.

        As of the last call.
        """
        ...

    @property
    def problem(self) -> str | None:
        """What is wrong now; None again once it works again."""
        ...

    def write(self, rows: Rows) -> int:
        """Take rows; return how many, from the first, were accepted. Never raises."""
        ...

    def close(self) -> None:
        """Let go of what is open. Safe to repeat."""
        ...
