# SPDX-License-Identifier: Apache-2.0
"""Which programs of a tracker refuse what a rule denies: those at security hooks."""

import struct
from collections.abc import Collection, Mapping, Sequence

from eunomia_agent.errors import DenyNotInKernel, DenyUnsupported
from eunomia_agent.events.layout import KIND
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers.catalogue import Tracker
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.paths import CONDITION


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
        raise DenyNotInKernel(f"{tracker.name}: nothing that the rule is about can be refused")
    if lacking := sorted(f"{section}: {missing[section]}" for section in wanted & missing.keys()):
        raise DenyUnsupported(f"{tracker.name} cannot deny here: {'; '.join(lacking)}")
    return frozenset(wanted)


def telling(tracker: Tracker) -> frozenset[str]:
    """Return the sections of a tracker that tell of what was done, and have no part in denying."""
    groups: Sequence[Collection[str]] = [tracker.hooks, *tracker.any_of, tracker.programs]
    return frozenset(section for group in groups for section in group)


def _kinds(key: Key, btf: Btf) -> frozenset[str] | None:
    """Return the kinds of events that a key's condition lets pass; None for all that there are."""
    asked = dict(key.conditions).get(f"{CONDITION}{KIND}")
    if asked is None:
        return None
    least, most = struct.unpack("=2q", asked)
    return frozenset(
        name
        for layout in result_layouts(btf).values()
        for column in layout.columns
        if column.name == KIND
        for number, name in column.values.items()
        if least <= number <= most
    )
