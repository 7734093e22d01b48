# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is. Pure."""

from collections import Counter
from collections.abc import Iterable

from eunomia_operator.objects.world import Resource


def in_turn(waiting: Iterable[Resource]) -> list[Resource]:
    """Return objects so that no namespace waits for more than one object of each other."""
    before: Counter[str] = Counter()
    ranked: list[tuple[int, Resource]] = []
    for each in waiting:
        ranked.append((before[each.namespace], each))
        before[each.namespace] += 1
    return [each for _, each in sorted(ranked, key=lambda pair: pair[0])]
