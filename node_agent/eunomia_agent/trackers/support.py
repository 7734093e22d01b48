# SPDX-License-Identifier: Apache-2.0
"""Which hooks of trackers this kernel offers."""

from collections.abc import Mapping

from eunomia_agent.kernel import hooks
from eunomia_agent.trackers.catalogue import Tracker


def offered(tracker: Tracker) -> Mapping[str, str | None]:
    """Return each hook that a tracker uses → why it is not to be had here; None where it is."""
    return {section: hooks.missing(section) for section in sections(tracker)}


def sections(tracker: Tracker) -> list[str]:
    """Return the hooks that a tracker uses, each once."""
    found = [*tracker.hooks, *(each for group in tracker.any_of for each in group)]
    return list(dict.fromkeys(found))


def lacks(tracker: Tracker) -> str:
    """Return what a tracker needs and this kernel does not have; empty where it can run."""
    found = offered(tracker)
    reasons = [f"{hook}: {found[hook]}" for hook in tracker.hooks if found[hook]]
    groups = tracker.any_of
    if groups and all(any(found[hook] for hook in group) for group in groups):
        reasons += [f"{hook}: {found[hook]}" for hook in groups[-1] if found[hook]]
    return "; ".join(reasons)
