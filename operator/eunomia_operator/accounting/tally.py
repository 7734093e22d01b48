# SPDX-License-Identifier: Apache-2.0
"""Counts of a job's events, on one node or over many. Pure.

`matched` is counted by the kernel, apart from the others: matched = delivered + lost + limited +
sampledOut is what agents have to show, and is not made to be true here.
"""

from dataclasses import dataclass, replace
from typing import Self

from eunomia_api import agent_pb2
from eunomia_api.tracejob import Totals
from eunomia_operator.accounting.counts import Counts


@dataclass(frozen=True, slots=True)
class Tally(Counts):
    """Numbers of events; each of them only ever goes up."""

    matched: int = 0
    """Let through by the kernel's filter."""
    delivered: int = 0
    lost: int = 0
    limited: int = 0
    sampled_out: int = 0
    unclassified: int = 0

    @property
    def settled(self) -> int:
        """Events whose end is known."""
        return self.delivered + self.lost + self.limited + self.sampled_out

    @property
    def completeness_percent(self) -> int | None:
        """delivered / matched, rounded down; None while nothing matched."""
        return self.delivered * 100 // self.matched if self.matched else None

    def consistent(self) -> Self:
        """Return it with as many matched as came to an end.

        Each number of two tallies that are at most the truth is at most the truth; so is their
        sum, and as many events have matched.
        """
        settled = self.settled
        return self if settled <= self.matched else replace(self, matched=settled)

    def to_status(self) -> Totals:
        """Return the form in which a status shows it."""
        return Totals(
            matched=self.matched,
            delivered=self.delivered,
            lost=self.lost,
            limited=self.limited,
            sampled_out=self.sampled_out,
            unclassified=self.unclassified,
        )


NOTHING = Tally()


def from_status(totals: Totals) -> Tally:
    """Return what a status shows."""
    return Tally(
        totals.matched,
        totals.delivered,
        totals.lost,
        totals.limited,
        totals.sampled_out,
        totals.unclassified,
    )


def from_report(totals: agent_pb2.Totals) -> Tally | None:
    """Return what an agent reported; None when a number is too large to be true."""
    counted = Tally(
        totals.matched,
        totals.delivered,
        totals.lost_kernel + totals.lost_agent,
        totals.limited,
        totals.sampled_out,
        totals.unclassified,
    )
    return counted if counted.believable else None
