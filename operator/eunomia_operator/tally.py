# SPDX-License-Identifier: Apache-2.0
"""Counts of a job's events, on one node or over many. Pure.

`matched` is counted by the kernel, apart from the others: matched = delivered + lost + limited +
sampledOut is what agents have to show, and is not made to be true here.
"""

from dataclasses import dataclass, replace
from typing import Self

from eunomia_api import agent_pb2
from eunomia_api.tracejob import Totals

LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Tally:
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

    def __add__(self, other: Self) -> "Tally":
        return Tally(
            self.matched + other.matched,
            self.delivered + other.delivered,
            self.lost + other.lost,
            self.limited + other.limited,
            self.sampled_out + other.sampled_out,
            self.unclassified + other.unclassified,
        )

    def beyond(self, other: "Tally") -> "Tally":
        """Return by how much each field is above the other's; zero where it is not."""
        return Tally(
            max(0, self.matched - other.matched),
            max(0, self.delivered - other.delivered),
            max(0, self.lost - other.lost),
            max(0, self.limited - other.limited),
            max(0, self.sampled_out - other.sampled_out),
            max(0, self.unclassified - other.unclassified),
        )

    def at_least(self, other: "Tally") -> "Tally":
        """Return the larger one of each field.

        Each field of two tallies that are at most the truth is at most the truth; so is their
        sum, and as many events have matched.
        """
        larger = self + other.beyond(self)
        return replace(larger, matched=max(larger.matched, larger.settled))

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
    fields = (
        totals.matched,
        totals.delivered,
        totals.lost_kernel + totals.lost_agent,
        totals.limited,
        totals.sampled_out,
        totals.unclassified,
    )
    # A sum over thousands of nodes must fit the int64 of the status.
    return Tally(*fields) if max(fields) <= LARGEST >> 16 else None
