# SPDX-License-Identifier: Apache-2.0
"""Conditions on nothing but whose a row is: they are the same for all rows of a cgroup."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.events.layout import Layout
from eunomia_agent.events.where import met
from eunomia_agent.events.where.scope import Scope
from eunomia_agent.sinks.rows import named
from eunomia_api.where import syntax
from eunomia_api.where.syntax import Node

NAMES = frozenset(named(Owner(0, "unknown")))
Each = TypeVar("Each", bound=Node)
_ROW = Batch(Layout("row", 1, []), np.zeros(1, "V1"), b"", np.zeros(1, np.uint64))
"""One of which nothing is known."""


def apart(conjuncts: Iterable[Each]) -> tuple[list[Each], list[Each]]:
    """Part conditions: those on owners alone, and the others."""
    alone: list[Each] = []
    others: list[Each] = []
    for conjunct in conjuncts:
        names = [each for each in syntax.walk(conjunct) if isinstance(each, syntax.Name)]
        is_alone = names and all(each.kind == "owner" and each.name in NAMES for each in names)
        (alone if is_alone else others).append(conjunct)
    return alone, others


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose rows a rule is about, by its conditions on owners alone.

    when: all of them hold; exceptions: none of them does.
    """

    when: tuple[Node, ...]
    exceptions: tuple[Node, ...]

    def is_meant(self, owner: Owner) -> bool:
        """Tell whether rows of an owner are meant.

        An exception for which there is no answer, such as one for a label that is not there, is
        not the same as one that is negated: it excepts nothing.
        """
        row = Scope(_ROW, named(owner))
        return bool(met(self.when, row)[0]) and not any(
            met((exception,), row)[0] for exception in self.exceptions
        )
