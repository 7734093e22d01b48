# SPDX-License-Identifier: Apache-2.0
"""The trackers of this release, as people name them."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache

from eunomia_agent.cli.errors import CommandError
from eunomia_agent.trackers.catalogue import Catalogue, Tracker

CORE = ("process", "syscall", "files", "tcp", "ipc", "container")
"""The trackers that say, together, what a container does."""
MOST_NEAR = 3


@cache
def catalogue() -> Catalogue:
    """Return the catalogue, read once."""
    return Catalogue.load()


def tracker(name: str) -> Tracker:
    """Return a tracker. Raises CommandError with the names that are near."""
    known = catalogue().trackers
    if name not in known:
        near = get_close_matches(name, known, n=MOST_NEAR)
        rest = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise CommandError(f"there is no tracker {name!r}; {rest}")
    return known[name]


def flag(param: str) -> str:
    """Return the option of a param on the command line: failedOnly is --failed-only."""
    return "--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in param)


def widths(found: Tracker) -> Mapping[str, int]:
    """Return the characters of each column in a table, as far as the catalogue says."""
    return {column.name: column.width for column in found.columns if column.width}
