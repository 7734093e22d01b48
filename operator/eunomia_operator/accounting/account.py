# SPDX-License-Identifier: Apache-2.0
"""One figure over all nodes, added up from what each counted since it began. Pure.

The figure is `retired` + the latest counts of each node that exists. It never goes down and counts
nothing twice, over deletions of nodes and changes of leader:

- Nothing but the figure and `retired` outlives a leader; both are written in one piece. A new
  leader knows of no node until it reports, so what it publishes is the larger one, number by
  number, of what was published before and of its own sum. Each of the two is at most the truth, so
  that is too.
- When every node that is meant has reported, what was published above the new sum can only come
  from nodes that are gone: it is added to `retired`, once.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from eunomia_operator.accounting.counts import Counts
from eunomia_operator.accounting.records import Rows, Slots

C = TypeVar("C", bound=Counts)


class Account(Generic[C]):
    """The counts of one thing that many nodes count."""

    def __init__(self, published: C, retired: C, slots: Slots | None = None) -> None:
        """Begin from what was published, and the part of it that comes from nodes that are gone.

        slots: where many accounts are kept, those of all.
        """
        self.retired = retired
        """What came from nodes that are gone."""
        self._kind = type(published)
        self._nothing = self._kind()
        self._published = published
        self._settled = published == retired
        self._rows = Rows(slots or Slots(), "Q" * len(published.values))
        self._ended: set[str] = set()
        self._sum = self._nothing

    @property
    def figure(self) -> C:
        """The counts over all nodes, which never go down."""
        self._published = self._published.at_least(self.retired + self._sum)
        return self._published

    def __contains__(self, node: str) -> bool:
        return node in self._rows

    def report(self, node: str, counted: C) -> None:
        """Take in what a node counted since it began."""
        before = self._of(node)
        if node in self._ended:
            self._ended.discard(node)
            if before.beyond(counted) != self._nothing:
                # The node was told to forget all of it, and began anew.
                self.retired += before
                self._sum = self._sum.beyond(before)
                before = self._nothing
        counted = counted.at_least(before)
        self._rows.put(node, counted.values)
        if counted != before:
            self._sum = self._sum.beyond(before) + counted

    def withdraw(self, node: str) -> None:
        """A node that still exists is to count no more."""
        if node in self._rows:
            self._ended.add(node)

    def retire(self, node: str) -> None:
        """A node is gone: what it counted stays."""
        counted = self._of(node)
        self._rows.remove(node)
        self._sum = self._sum.beyond(counted)
        self.retired += counted
        self._ended.discard(node)

    def settle(self, meant: Iterable[str]) -> None:
        """Once every node that is meant has reported, book what is missing as that of gone ones."""
        if self._settled or not all(node in self._rows for node in meant):
            return
        self.retired += self._published.beyond(self.retired + self._sum)
        self._settled = True

    def _of(self, node: str) -> C:
        row = self._rows.get(node)
        return self._nothing if row is None else self._kind(*row)
