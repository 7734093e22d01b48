# SPDX-License-Identifier: Apache-2.0
"""The running trackers of a node, each shared by all jobs that ask for the same."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key

CLOSERS = 8
"""Trackers that are taken out of the kernel at once."""


class Pool:
    """Opens an instance for the first job that asks for it and closes it after the last."""

    def __init__(self, open_instance: Callable[[Key, int], Instance], memory_bytes: int) -> None:
        """Prepare.

        open_instance: is given a key, and the bytes that its maps may take up. memory_bytes: what
        the maps of all instances may take up.
        """
        self._open = open_instance
        self._memory_bytes = memory_bytes
        self._closing = ThreadPoolExecutor(CLOSERS, "close")
        self._instances: dict[Key, Instance] = {}
        self._slots: dict[Key, set[int]] = {}
        self.starts: Counter[str] = Counter()
        """Trackers started, by name."""

    def __iter__(self) -> Iterator[Instance]:
        return iter(list(self._instances.values()))

    def acquire(self, key: Key, slot: int) -> Instance:
        """Return the instance of a key for a job's slot. Raises TrackerError, KernelError."""
        if key not in self._instances:
            used = sum(instance.memory_bytes for instance in self)
            self._instances[key] = self._open(key, self._memory_bytes - used)
            self._slots[key] = set()
            self.starts[key.tracker] += 1
        self._slots[key].add(slot)
        return self._instances[key]

    def release(self, key: Key, slot: int) -> None:
        """Take a job's slot from an instance; with the last one its programs and maps go.

        They go on another thread: the kernel waits for all that may still use them, for up to
        0.3 s a tracker.
        """
        slots = self._slots[key]
        slots.discard(slot)
        if not slots:
            del self._slots[key]
            self._closing.submit(self._instances.pop(key).retire())

    def close(self) -> None:
        """Take away all programs and maps, and wait until they are gone."""
        for instance in self:
            self._closing.submit(instance.retire())
        self._instances.clear()
        self._slots.clear()
        self._closing.shutdown()
