# SPDX-License-Identifier: Apache-2.0
"""The running trackers of a node, each shared by all jobs that ask for the same."""

from collections import Counter
from collections.abc import Callable, Iterator

from eunomia_agent.trackers.instance import Instance, Key


class Pool:
    """Opens an instance for the first job that asks for it and closes it after the last."""

    def __init__(self, open_instance: Callable[[Key], Instance]) -> None:
        self._open = open_instance
        self._instances: dict[Key, Instance] = {}
        self._slots: dict[Key, set[int]] = {}
        self.starts: Counter[str] = Counter()
        """Trackers started, by name."""

    def __iter__(self) -> Iterator[Instance]:
        return iter(list(self._instances.values()))

    def acquire(self, key: Key, slot: int) -> Instance:
        """Return the instance of a key for a job's slot. Raises TrackerError, KernelError."""
        if key not in self._instances:
            self._instances[key] = self._open(key)
            self._slots[key] = set()
            self.starts[key.tracker] += 1
        self._slots[key].add(slot)
        return self._instances[key]

    def release(self, key: Key, slot: int) -> None:
        """Take a job's slot from an instance; with the last one its programs and maps go."""
        slots = self._slots[key]
        slots.discard(slot)
        if not slots:
            del self._slots[key]
            self._instances.pop(key).close()

    def close(self) -> None:
        """Take away all programs and maps."""
        for instance in self:
            instance.close()
        self._instances.clear()
        self._slots.clear()


def ring_bytes(memory_bytes: int, trackers: int, page_bytes: int) -> int:
    """Return the size of each tracker's ring: the largest power of two in its part of the memory.

    The kernel takes only powers of two that are whole pages (kernel/bpf/ringbuf.c). The reader's
    buffer holds a whole ring once more, hence half.
    """
    part = max(page_bytes, memory_bytes // (2 * max(1, trackers)))
    return 1 << (part.bit_length() - 1)
