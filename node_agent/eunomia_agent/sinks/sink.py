# SPDX-License-Identifier: Apache-2.0
"""What every sink is."""

from collections.abc import Sequence
from typing import Literal, Protocol

from eunomia_agent.containers.owner import Owner

Refusal = Literal["limited", "lost"]


class Sink(Protocol):
    """Takes the rows of one job. Used by one thread at a time, which it may block on a disk."""

    name: str

    @property
    def refusal(self) -> Refusal:
        """What the rows count as that the last `write` refused."""
        ...

    @property
    def problem(self) -> str | None:
        """What is wrong now; None again once it works again."""
        ...

    def write(self, owner: Owner, rows: Sequence[bytes]) -> int:
        """Take rows of one cgroup, each a JSON object without a newline.

        Returns how many, from the first, were accepted. Never raises.
        """
        ...

    def close(self) -> None:
        """Let go of what is open. Safe to repeat."""
        ...
