# SPDX-License-Identifier: Apache-2.0
"""Which programs of a tracker refuse what a rule denies: those at security hooks."""

from collections.abc import Collection, Mapping, Sequence

from eunomia_agent.errors import DenyNotInKernel, DenyUnsupported
from eunomia_agent.events.kinds import kinds_of
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.paths import CONDITION
from eunomia_agent.trackers.ranges import AMONG, numbers_in


def chosen(tracker: Tracker, key: Key, btf: Btf, missing: Mapping[str, str]) -> frozenset[str]:
    """Return the sections that are needed to refuse what a key's condition is about.

    missing: section → why this kernel does not have its hook. Raises DenyNotInKernel,
    DenyUnsupported.
    """
    kinds = _kinds(key, btf)
    wanted = {
        section
        for section, refused in tracker.denies.items()
        if kinds is None or not refused or kinds & {*refused}
    }
    if not wanted:
        raise DenyNotInKernel(
            f"{tracker.name}: nothing that the rule is about can be refused",
            f"nothing of this can be refused that {tracker.name} tells",
        )
    if lacking := sorted(f"{section}: {missing[section]}" for section in wanted & missing.keys()):
        raise DenyUnsupported(f"{tracker.name} cannot deny here: {'; '.join(lacking)}")
    return frozenset(wanted)


def telling(tracker: Tracker) -> frozenset[str]:
    """Return the sections of a tracker that tell of what was done, and have no part in denying."""
    groups: Sequence[Collection[str]] = [tracker.hooks, *tracker.any_of, tracker.programs]
    return frozenset(section for group in groups for section in group)


def _kinds(key: Key, btf: Btf) -> frozenset[str] | None:
    """Return the kinds of events that a key's condition lets pass; None for all that there are."""
    asked = dict(key.conditions)
    columns = [column for layout in result_layouts(btf).values() for column in layout.columns]
    column, kinds = kinds_of(columns)
    if (within := asked.get(f"{CONDITION}{column}")) is None:
        return None
    passed = numbers_in(kinds, within, asked.get(f"{AMONG}{column}"))
    return frozenset(kinds[number] for number in passed)
