# SPDX-License-Identifier: Apache-2.0
"""Maps: what programs and the agent share."""

import ctypes
import errno
import mmap
from collections.abc import Iterator
from typing import Any

from eunomia_agent.kernel import info
from eunomia_agent.kernel.errors import ENOTSUPP, KernelError
from eunomia_agent.kernel.libbpf import check, check_pointer, library

# include/uapi/linux/bpf.h
HASH, ARRAY, RINGBUF = 1, 2, 27
PER_CPU = frozenset({5, 6, 10, 21})
ANY, NOEXIST = 0, 1
BATCH = 4096


class Map:
    """A map of an object. Keys and values are bytes in the machine's own order."""

    def __init__(self, pointer: int, owner: str) -> None:
        self._pointer = pointer
        self._bpf = library()
        self.name: str = self._bpf.bpf_map__name(pointer).decode()
        self.kind: int = self._bpf.bpf_map__type(pointer)
        self._title = f"map {self.name} of {owner}"

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        return int(self._bpf.bpf_map__key_size(self._pointer))

    @property
    def value_size(self) -> int:
        """Bytes of a value, on one CPU."""
        return int(self._bpf.bpf_map__value_size(self._pointer))

    @property
    def max_entries(self) -> int:
        """The most entries; of a ring buffer its size in bytes."""
        return int(self._bpf.bpf_map__max_entries(self._pointer))

    @property
    def per_cpu(self) -> bool:
        """Whether each CPU has its own value."""
        return self.kind in PER_CPU

    @property
    def fd(self) -> int:
        """The file descriptor. Raises KernelError before the object is loaded."""
        return check(self._bpf.bpf_map__fd(self._pointer), f"{self._title} is not loaded")

    @property
    def id(self) -> int:
        """The kernel's number for the map."""
        return info.map_id(self.fd)

    def resize(self, max_entries: int) -> None:
        """Set the size before the object is loaded: entries, or the bytes of a ring buffer."""
        pages, odd = divmod(max_entries, mmap.PAGESIZE)
        if self.kind == RINGBUF and (odd or pages < 1 or pages & (pages - 1)):
            raise KernelError(
                f"{self._title}: a ring buffer has a power of two of bytes, at least "
                f"{mmap.PAGESIZE}, not {max_entries}"
            )
        if not 0 < max_entries < 1 << 32:
            raise KernelError(f"{self._title} cannot be made to hold {max_entries}: at most 2^32-1")
        check(
            self._bpf.bpf_map__set_max_entries(self._pointer, max_entries),
            f"{self._title}: cannot be made to hold {max_entries}",
        )

    def reuse(self, other: "Map") -> None:
        """Stand for another, loaded map instead of a new one. Before the object is loaded."""
        mine, theirs = self._shape, other._shape
        if mine != theirs:
            raise KernelError(f"{self._title} {mine} cannot stand for {other._title} {theirs}")
        check(
            self._bpf.bpf_map__reuse_fd(self._pointer, other.fd),
            f"{self._title}: cannot stand for {other._title}",
        )

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.kind, self.key_size, self.value_size

    def prepare(self) -> None:
        """Before loading: the kernel wants no value size of a ring buffer with a typed value."""
        if self.kind == RINGBUF:
            check(self._bpf.bpf_map__set_value_size(self._pointer, 0), self._title)

    def initial_value(self) -> tuple[int, int]:
        """Return address and size of what a section of data holds; writable before loading."""
        size = ctypes.c_size_t()
        address = self._bpf.bpf_map__initial_value(self._pointer, ctypes.byref(size))
        return check_pointer(address, f"{self._title} holds no data"), size.value

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value, or None. Per CPU: one a possible CPU, each padded to 8 bytes."""
        value = ctypes.create_string_buffer(self._stride)
        result = self._bpf.bpf_map_lookup_elem(self.fd, self._key(key), value)
        if result == -errno.ENOENT:
            return None
        check(result, f"{self._title}: cannot be read")
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set a value."""
        check(self._write(key, value, ANY), f"{self._title}: cannot be written")

    def insert(self, key: bytes, value: bytes) -> bool:
        """Set a value where there is none; return whether there was none."""
        result = self._write(key, value, NOEXIST)
        if result == -errno.EEXIST:
            return False
        check(result, f"{self._title}: cannot be written")
        return True

    def _write(self, key: bytes, value: bytes, flags: int) -> int:
        if len(value) != self._stride:
            raise KernelError(f"{self._title}: a value has {self._stride} bytes, not {len(value)}")
        return int(self._bpf.bpf_map_update_elem(self.fd, self._key(key), value, flags))

    def delete(self, key: bytes) -> bool:
        """Remove an entry; return whether it was there."""
        result = self._bpf.bpf_map_delete_elem(self.fd, self._key(key))
        if result == -errno.ENOENT:
            return False
        check(result, f"{self._title}: an entry cannot be removed")
        return True

    def snapshot(self) -> tuple[bytes, bytes]:
        """Return all keys and all values, each behind one another, in the same order.

        Entries that come or go meanwhile may be in it or not. Read by batches
        (BPF_MAP_LOOKUP_BATCH), or key by key from a kernel or map that has no batches.
        """
        keys, values = bytearray(), bytearray()
        room = min(BATCH, max(1, self.max_entries))
        cursor, at = None, ctypes.create_string_buffer(max(8, self.key_size))
        while True:
            key_part = ctypes.create_string_buffer(room * self.key_size)
            value_part = ctypes.create_string_buffer(room * self._stride)
            count = ctypes.c_uint32(room)
            result = self._bpf.bpf_map_lookup_batch(
                self.fd, cursor, at, key_part, value_part, ctypes.byref(count), None
            )
            if result == -errno.ENOSPC and room < self.max_entries * 2:
                room *= 2  # a bucket of the hash holds more than the buffer
                continue
            if result in (-errno.EINVAL, -ENOTSUPP) and cursor is None:
                return self._one_by_one()
            if result != -errno.ENOENT:
                check(result, f"{self._title}: cannot be read")
            keys += key_part.raw[: count.value * self.key_size]
            values += value_part.raw[: count.value * self._stride]
            if result == -errno.ENOENT:
                return bytes(keys), bytes(values)
            cursor = ctypes.create_string_buffer(at.raw, len(at))

    def delete_many(self, keys: bytes) -> None:
        """Remove entries, those that are there, by their keys behind one another."""
        total = len(keys) // self.key_size if self.key_size else 0
        done = 0
        while done < total:
            rest = keys[done * self.key_size :]
            count = ctypes.c_uint32(total - done)
            result = self._bpf.bpf_map_delete_batch(self.fd, rest, ctypes.byref(count), None)
            if result in (-errno.EINVAL, -ENOTSUPP) and not done:
                for number in range(done, total):
                    self.delete(keys[number * self.key_size :][: self.key_size])
                return
            if result != -errno.ENOENT:
                check(result, f"{self._title}: entries cannot be removed")
            done += count.value + (result == -errno.ENOENT)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each key with its value."""
        keys, values = self.snapshot()
        key_size, stride = self.key_size, self._stride
        for number in range(len(keys) // key_size):
            key = keys[number * key_size :][:key_size]
            yield key, values[number * stride :][:stride]

    def _one_by_one(self) -> tuple[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        key: Any = None
        following = ctypes.create_string_buffer(self.key_size)
        while self._bpf.bpf_map_get_next_key(self.fd, key, following) == 0:
            if following.raw in found:
                break  # the key that was stood on went away, and the walk began anew
            value = self.lookup(following.raw)
            if value is not None:
                found[following.raw] = value
            key = ctypes.create_string_buffer(following.raw, self.key_size)
        return b"".join(found), b"".join(found.values())

    @property
    def _stride(self) -> int:
        if not self.per_cpu:
            return self.value_size
        return (self.value_size + 7) // 8 * 8 * possible_cpus()

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise KernelError(f"{self._title}: a key has {self.key_size} bytes, not {len(key)}")
        return key


def possible_cpus() -> int:
    """Return how many values a per-CPU map has an entry: possible CPUs, present or not."""
    return check(library().libbpf_num_possible_cpus(), "the CPUs cannot be counted")
