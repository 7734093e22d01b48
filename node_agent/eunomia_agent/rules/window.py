# SPDX-License-Identifier: Apache-2.0
"""Rows of a rule by groups: whether enough came in a time, and whether to tell of it again.

Times are nanoseconds of one clock, that of the rows, and may go back a little: rows of several
trackers and of several processors come as they are read. What is kept is bounded, whatever comes:
the groups that were longest without a row are forgotten first.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from eunomia_api import agent_pb2

MAX_GROUPS = 4096
MAX_KEPT = 16_384
"""Rows or values that the windows of one rule remember together."""
MAX_COUNT = 10_000
MAX_DISTINCT = 1_000
PAUSE_NS = 10_000_000_000
"""Between two rows that go on, where a rule with `for` does not say it."""
MILLISECOND = 1_000_000
LONGEST_KEY = 64
_LEAST = -(2**63)


class Window(Protocol):
    """What one group saw lately."""

    @property
    def kept(self) -> int:
        """How many rows or values it remembers."""
        ...

    def see(self, time: int, value: str) -> int:
        """Take in a row; return how many rows break the rule with it, 0 when they do not."""
        ...


class _Each:
    """Every row breaks the rule."""

    kept = 0

    def see(self, time: int, value: str) -> int:
        return 1


class _Count:
    """So many rows in so long."""

    def __init__(self, count: int, within: int) -> None:
        self._count = count
        self._within = within
        self._newest = _LEAST
        self._times: deque[int] = deque()

    @property
    def kept(self) -> int:
        return len(self._times)

    def see(self, time: int, value: str) -> int:
        self._newest = max(self._newest, time)
        self._times.append(time)
        while self._times and self._times[0] < self._newest - self._within:
            self._times.popleft()
        if len(self._times) < self._count:
            return 0
        self._times.clear()
        return self._count


class _Distinct:
    """So many different values in so long. Of a value, its hash is kept."""

    def __init__(self, count: int, within: int) -> None:
        self._count = count
        self._within = within
        self._newest = _LEAST
        self._seen: OrderedDict[int, int] = OrderedDict()

    @property
    def kept(self) -> int:
        return len(self._seen)

    def see(self, time: int, value: str) -> int:
        self._newest = max(self._newest, time)
        number = hash(value)
        self._seen[number] = time
        self._seen.move_to_end(number)
        while self._seen and next(iter(self._seen.values())) < self._newest - self._within:
            self._seen.popitem(last=False)
        if len(self._seen) < self._count:
            return 0
        self._seen.clear()
        return self._count


class _Lasting:
    """Rows that go on for so long, never further apart than a pause."""

    kept = 0

    def __init__(self, duration: int, pause: int) -> None:
        self._duration = duration
        self._pause = pause
        self._since = self._newest = _LEAST
        self._rows = 0

    def see(self, time: int, value: str) -> int:
        if time - self._newest > self._pause:
            self._since, self._rows = time, 0
        self._newest = max(self._newest, time)
        self._rows += 1
        if time - self._since < self._duration:
            return 0
        rows, self._since, self._rows = self._rows, time, 0
        return rows


@dataclass(slots=True)
class _Group:
    window: Window
    silent_until: int = _LEAST


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule is broken: place of the row with which it was, and how many rows that took."""

    place: int
    rows: int


class Windows:
    """The groups of one rule. deduplicated: breaches that were not told, so far.

    forgot: whether a group was forgotten for want of room since it was last set to False.
    """

    def __init__(self, rule: agent_pb2.Rule) -> None:
        self._make = _maker(rule)
        self._silence = rule.deduplicate_ms * MILLISECOND
        self._groups: OrderedDict[str, _Group] = OrderedDict()
        self._kept = 0
        self.deduplicated = 0
        self.forgot = False

    def take(
        self, keys: Iterable[str], times: Iterable[int], values: Iterable[str]
    ) -> list[Breach]:
        """Take in rows in their order: the group, time and value of each. Return what to tell."""
        found: list[Breach] = []
        for place, (key, time, value) in enumerate(zip(keys, times, values, strict=True)):
            group = self._group(key)
            before = group.window.kept
            rows = group.window.see(time, value)
            self._kept += group.window.kept - before
            if self._kept > MAX_KEPT:
                self._forget_one()
            if not rows:
                continue
            if time < group.silent_until:
                self.deduplicated += 1
            else:
                if self._silence:
                    group.silent_until = time + self._silence
                found.append(Breach(place, rows))
        return found

    def _group(self, key: str) -> _Group:
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                self._forget_one()
            group = self._groups[key] = _Group(self._make())
        else:
            self._groups.move_to_end(key)
        return group

    def _forget_one(self) -> None:
        _, group = self._groups.popitem(last=False)
        self._kept -= group.window.kept
        self.forgot = True


def _maker(rule: agent_pb2.Rule) -> Callable[[], Window]:
    within = rule.within_ms * MILLISECOND
    if rule.for_ms:
        return lambda: _Lasting(rule.for_ms * MILLISECOND, within or PAUSE_NS)
    if rule.distinct:
        return lambda: _Distinct(rule.count, within)
    if rule.count > 1:
        return lambda: _Count(rule.count, within)
    return _Each


def key_of(values: Iterable[str]) -> str:
    """Return a group's key, bounded in length and different for different values."""
    key = "\0".join(values)
    if len(key) <= LONGEST_KEY:
        return key
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
