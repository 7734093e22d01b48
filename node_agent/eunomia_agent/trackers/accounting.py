# SPDX-License-Identifier: Apache-2.0
"""The account of a job's events in one tracker.

The word that is given to the user, for every job and tracker:

    matched = delivered + lost_kernel + lost_agent + limited + sampled_out

The kernel counts what it matched, lost and limited, for each job and cgroup, apart from what the
agent counts of the rows that it read. Nothing here makes the two sides agree: when they differ at
rest, an event was lost without a word, and that is a bug.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Self


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of events since a job began. None of them ever goes down."""

    matched: int = 0
    delivered: int = 0
    lost_kernel: int = 0
    lost_agent: int = 0
    limited: int = 0
    sampled_out: int = 0
    unclassified: int = 0
    enforced: int = 0
    """Of all that matched, those for which the kernel killed who made them, or that it refused."""

    def __add__(self, other: Self) -> Self:
        return type(self)(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )

    @property
    def settled(self) -> int:
        """Events whose end is known."""
        return self.delivered + self.lost_kernel + self.lost_agent + self.limited + self.sampled_out


@dataclass(frozen=True, slots=True)
class Account:
    """What the kernel counted for one job in one cgroup: `struct account` of eunomia.h."""

    matched: int = 0
    lost: int = 0
    limited: int = 0
    sampled_out: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.matched + other.matched,
            self.lost + other.lost,
            self.limited + other.limited,
            self.sampled_out + other.sampled_out,
        )


@dataclass(slots=True)
class Ledger:
    """One job's account in one running tracker.

    Kernel accounts of cgroups that still live are replaced by each newer reading; those of
    cgroups that are gone are folded in, once.
    """

    before: Totals = Totals()
    """What earlier runs of the tracker came to: before a restart of it, or of the agent."""
    folded: Account = Account()
    live: dict[int, Account] = field(default_factory=dict[int, Account])
    """By cgroup id, as last read."""
    proven: int = 0
    """Events of this run that matched, as far as their end must be known by now."""
    still: bool = False
    """Whether nothing is in flight: `proven` is all that matched."""
    counted: int = 0
    """Events that the kernel added up in a table, as far as the table was read: all that matched
    but for those it had no room for."""
    filtered: int = 0
    """Events that the kernel let through, and that the rest of the job's condition left out."""
    delivered: int = 0
    lost: int = 0
    limited: int = 0
    unclassified: int = 0
    enforced: int = 0

    def read(self, accounts: Mapping[int, Account]) -> None:
        """Take the kernel's accounts of all cgroups of the job that live.

        A program counts an event as matched a moment before it sends it. So what was matched at
        one reading is sure to have come to its end, and to have been drained, by the next.
        """
        before = self._kernel().matched
        self.proven = max(self.proven, before - self.filtered)
        self.live = dict(accounts)
        self.still = self._kernel().matched == before
        if self.still:
            self.proven = before - self.filtered

    def rest(self) -> None:
        """Take note that no program runs any more: all that matched has come to its end."""
        self.proven = self._kernel().matched - self.filtered
        self.still = True

    def fold(self, cgroup_id: int, account: Account) -> None:
        """Take the last account of a cgroup that is gone, or has left the job."""
        self.folded += account
        self.live.pop(cgroup_id, None)

    def totals(self) -> Totals:
        """Return the account as of now.

        What is in flight is left out, so that the identity holds at any time. An event whose end
        is not known in time breaks it, and so does one that came to two.
        """
        kernel = self._kernel()
        settled = Totals(
            delivered=self.delivered,
            lost_kernel=kernel.lost,
            lost_agent=self.lost,
            limited=kernel.limited + self.limited,
            sampled_out=kernel.sampled_out,
            unclassified=self.unclassified,
            enforced=self.enforced,
        )
        matched = self.proven + self.counted
        if not self.still:
            matched = max(matched, settled.settled)
        return self.before + settled + Totals(matched=matched)

    @property
    def seen(self) -> int:
        """Events that the kernel matched in this run, as last read."""
        return self._kernel().matched

    def _kernel(self) -> Account:
        return sum(self.live.values(), self.folded)
