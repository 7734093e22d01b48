# SPDX-License-Identifier: Apache-2.0
"""Which alerts of an agent may be forgotten by it, since they are written down. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

MOST_BATCHES = 64

Answer = Callable[[int], None]
"""Tells an agent that all alerts up to a sequence number are taken in."""


@dataclass(slots=True)
class _Batch:
    """Alerts that came in one message."""

    sequence: int
    """The highest one."""
    awaited: dict[str, int]
    """By policy: the version of its AlertReport in which they all are."""


class Receipts:
    """What the agents of all nodes are yet to be told."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Answer, deque[_Batch]]] = {}
        self._stopped: dict[str, Answer] = {}

    def expect(self, node: str, answer: Answer, sequence: int, awaited: Mapping[str, int]) -> None:
        """Take note of a message of a node. answer: that of its stream.

        What was to be told on an older stream is not: the agent tells all of it again.
        """
        if self._stopped.get(node) == answer:
            return
        self._stopped.pop(node, None)
        before = self._waiting.get(node)
        if before is None or before[0] != answer:
            before = self._waiting[node] = (answer, deque())
        _, batches = before
        if len(batches) < MOST_BATCHES:
            batches.append(_Batch(sequence, dict(awaited)))
            return
        last = batches[-1]
        last.sequence = max(last.sequence, sequence)
        for policy, version in awaited.items():
            last.awaited[policy] = max(version, last.awaited.get(policy, 0))

    def stop(self, node: str, answer: Answer) -> None:
        """Answer for nothing more that comes on a stream: the agent tells it again on its next."""
        self._stopped[node] = answer

    def settle(self, is_written: Callable[[str, int], bool]) -> None:
        """Answer for what is written down. is_written: of a policy, whether a version is."""
        for node in list(self._waiting):
            answer, batches = self._waiting[node]
            done = 0
            while batches and _all_written(batches[0].awaited.items(), is_written):
                done = max(done, batches.popleft().sequence)
            if done:
                answer(done)
            if not batches:
                del self._waiting[node]


def _all_written(
    awaited: Iterable[tuple[str, int]], is_written: Callable[[str, int], bool]
) -> bool:
    return all(is_written(policy, version) for policy, version in awaited)
