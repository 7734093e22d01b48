# SPDX-License-Identifier: Apache-2.0
"""The running trackers of a node, each shared by all jobs that ask for the same."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from eunomia_agent.errors import NoMemoryLeft
from eunomia_agent.trackers.instance import Instance, Key

CLOSERS = 8
"""Trackers that are taken out of the kernel at once."""


class Pool:
    """Opens an instance for the first job that asks for it and closes it after the last."""

    def __init__(self, open_instance: Callable[[Key], Instance], memory_bytes: int) -> None:
        """Prepare. memory_bytes: what all instances' rings and their readers may take up."""
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
            self._check_memory(key)
            self._instances[key] = self._open(key)
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

    def _check_memory(self, key: Key) -> None:
        used = sum(reader_and_ring(each.ring_bytes) for each in self._instances)
        wanted = reader_and_ring(key.ring_bytes)
        if used + wanted > self._memory_bytes:
            raise NoMemoryLeft(
                f"{key.tracker} asks for {wanted} bytes of buffers; of the"
                f" {self._memory_bytes} that this node's jobs may take up (EUNOMIA_MEMORY_BYTES),"
                f" {used} are taken; lower spec.budget.memoryBytesPerNode"
            )


def reader_and_ring(ring_bytes: int) -> int:
    """Return what a ring takes up together with its reader, whose buffer holds a whole ring."""
    return 2 * ring_bytes


def ring_bytes(memory_bytes: int, trackers: int, page_bytes: int) -> int:
    """Return the size of each tracker's ring: the largest power of two in its part of the memory.

    The kernel takes only powers of two that are whole pages (kernel/bpf/ringbuf.c). The reader's
    buffer holds a whole ring once more, hence half.
    """
    part = max(page_bytes, memory_bytes // (2 * max(1, trackers)))
    return 1 << (part.bit_length() - 1)
