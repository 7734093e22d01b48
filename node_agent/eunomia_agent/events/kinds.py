# SPDX-License-Identifier: Apache-2.0
"""What a tracker's events are told apart by: their kind, or else the system call."""

from collections.abc import Iterable, Mapping

from eunomia_agent.events import names
from eunomia_agent.events.layout import KIND, Column

CALL = "call"


def kinds_of(columns: Iterable[Column]) -> tuple[str, Mapping[int, str]]:
    """Return the column that says what an event is, with the names of its values.

    `kind`, or else `call`; no name and no values where there is neither.
    """
    found = {column.name: column for column in columns}
    if KIND in found:
        return KIND, found[KIND].values
    return (CALL, names.SYSCALLS) if CALL in found else ("", {})
