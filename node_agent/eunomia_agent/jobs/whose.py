# SPDX-License-Identifier: Apache-2.0
"""Conditions on nothing but whose a row is: they are the same for all rows of a cgroup."""

from collections.abc import Iterable

import numpy as np

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Layout
from eunomia_agent.events.where import mask
from eunomia_agent.sinks.rows import named
from eunomia_api.where import Expression, syntax
from eunomia_api.where.syntax import Node

NAMES = frozenset(named(Owner(0, "unknown")))
_ROW = Batch(Layout("row", 1, []), np.zeros(1, "V1"), b"", np.zeros(1, np.uint64))
"""One of which nothing is known."""


def apart(conjuncts: Iterable[Node]) -> tuple[list[Node], list[Node]]:
    """Part conditions: those on owners alone, and the others."""
    alone: list[Node] = []
    others: list[Node] = []
    for conjunct in conjuncts:
        names = [each for each in syntax.walk(conjunct) if isinstance(each, syntax.Name)]
        is_alone = names and all(each.kind == "owner" and each.name in NAMES for each in names)
        (alone if is_alone else others).append(conjunct)
    return alone, others


def holds(condition: Expression, owner: Owner) -> bool:
    """Tell whether a condition on owners alone holds for one."""
    return bool(mask(condition, _ROW, named(owner))[0])
