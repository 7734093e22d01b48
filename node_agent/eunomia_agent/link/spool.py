# SPDX-License-Identifier: Apache-2.0
"""Alerts that wait for the operator: kept on the disk until it has taken them in.

A file to which records are added, and which is written anew, shorter, when most of it is history.
What was lost with a crash of the machine is what came in the second before; a kill loses nothing.
"""

import errno
import logging
import os
import struct
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from eunomia_api import agent_pb2

logger = logging.getLogger("eunomia.alerts")

MAX_ALERTS = 1000
MAX_ALERTS_A_CONTAINER = 200
"""So that a loud one leaves room to the others while the operator is away."""
MAX_BYTES = 4 * 1024 * 1024
_HEAD = struct.Struct("=IIBQ")
"""Bytes that follow, their CRC-32, the kind of record, and a sequence number."""
_ALERT, _TAKEN, _GONE = 1, 2, 3
"""An alert of that number; all up to that number are taken in; that one made room for another."""
_LONGEST_FILE = 2 * MAX_BYTES


@dataclass(frozen=True, slots=True)
class _Kept:
    sequence: int
    content: bytes
    container_id: str
    policy_uid: str


class Spool:
    """Bounded, in the order in which they came. May be used on several threads.

    Where there is no room, the newest of the container goes of which there are most (of which there
    is most, where they are too large), if that one has more than the one that an alert is about.
    """

    def __init__(self, folder: Path, on_alert: Callable[[], None] = lambda: None) -> None:
        """Take in what was left by an earlier run. on_alert: called after each, on its thread."""
        self._path = folder / "alerts"
        self.on_alert = on_alert
        self.on_gone: Callable[[str], None] = _nobody
        """Called with the uid of the policy, after one of its alerts made room for another."""
        self.problem: str | None = None
        self._lock = threading.Lock()
        self._kept: deque[_Kept] = deque()
        self._by_container: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        """Bytes of all that are kept of a container."""
        self._last = 0
        self._file: int | None = None
        self._file_size = 0
        self._replaced = False
        """Whether the folder is to reach the disk as well."""
        try:
            self._load()
        except FileNotFoundError:
            pass
        except (OSError, DecodeError) as error:
            logger.error("what was left of alerts is set aside, it cannot be read: %s", error)
            with suppress(OSError):
                self._path.replace(folder / "alerts.unreadable")
        # Numbers go up even where the last ones, or all, are lost: by the time, in microseconds.
        self._last = max(self._last, time.time_ns() // 1000)
        self._rewrite()

    def put(self, alert: agent_pb2.Alert) -> bool:
        """Keep an alert, and number it; False where there is no room for it."""
        with self._lock:
            alert.sequence = self._last + 1
            fresh = _kept(alert)
            gone = self._in_the_way(fresh)
            if gone is None:
                return False
            for each in gone:
                self._let_go(each)
                self._append(_GONE, each.sequence, b"")
            self._last += 1
            self._keep(fresh)
            self._append(_ALERT, fresh.sequence, fresh.content)
        for each in gone:
            self.on_gone(each.policy_uid)
        self.on_alert()
        return True

    def after(self, sequence: int, most: int = MAX_ALERTS) -> list[agent_pb2.Alert]:
        """Return the first alerts with numbers above one."""
        with self._lock:
            found = [each.content for each in self._kept if each.sequence > sequence]
        return [agent_pb2.Alert.FromString(each) for each in found[:most]]

    def taken(self, sequence: int) -> None:
        """Forget all alerts up to a number."""
        with self._lock:
            before = len(self._kept)
            self._drop(sequence)
            if len(self._kept) < before:
                self._append(_TAKEN, sequence, b"")

    def sync(self) -> None:
        """Have all that is kept reach the disk, which may have room again. Blocks on it."""
        with self._lock:
            if self._file is None:
                self._rewrite()
            if self._file is None:
                return
            descriptor = os.dup(self._file)
            replaced, self._replaced = self._replaced, False
        try:
            os.fdatasync(descriptor)
            if replaced:
                _sync_folder(self._path.parent)
        except OSError as error:
            with self._lock:
                self._fail(error)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    def __len__(self) -> int:
        return len(self._kept)

    def _in_the_way(self, fresh: _Kept) -> list[_Kept] | None:
        """Return what has to go so that another one finds room; None where it is to find none."""
        whose, size = fresh.container_id, len(fresh.content)
        if self._by_container[whose] >= MAX_ALERTS_A_CONTAINER:
            return None
        counts, sizes = self._by_container.copy(), self._sizes.copy()
        gone, newest = list[_Kept](), list[_Kept]()
        while counts.total() >= MAX_ALERTS or sizes.total() + size > MAX_BYTES:
            crowded = counts.total() >= MAX_ALERTS
            weights, mine = (counts, counts[whose] + 1) if crowded else (sizes, sizes[whose] + size)
            loudest = max(weights, key=lambda each: weights[each], default=whose)
            if weights[loudest] <= mine:
                return None
            newest = newest or list(reversed(self._kept))
            one = next(each for each in newest if each.container_id == loudest)
            newest.remove(one)
            counts[loudest] -= 1
            sizes[loudest] -= len(one.content)
            gone.append(one)
        return gone

    def _keep(self, kept: _Kept) -> None:
        self._kept.append(kept)
        self._by_container[kept.container_id] += 1
        self._sizes[kept.container_id] += len(kept.content)

    def _let_go(self, gone: _Kept) -> None:
        self._kept.remove(gone)
        self._forget(gone)

    def _forget(self, gone: _Kept) -> None:
        self._by_container[gone.container_id] -= 1
        self._sizes[gone.container_id] -= len(gone.content)
        if not self._by_container[gone.container_id]:
            del self._by_container[gone.container_id], self._sizes[gone.container_id]

    def _drop(self, sequence: int) -> None:
        while self._kept and self._kept[0].sequence <= sequence:
            self._forget(self._kept.popleft())

    def _load(self) -> None:
        data = self._path.read_bytes()[:_LONGEST_FILE]
        for kind, sequence, content in _records(data):
            if kind == _ALERT:
                self._keep(_kept(agent_pb2.Alert.FromString(content)))
            elif kind == _GONE:
                for each in [each for each in self._kept if each.sequence == sequence]:
                    self._let_go(each)
            else:
                self._drop(sequence)
            self._last = max(self._last, sequence)

    def _append(self, kind: int, sequence: int, content: bytes) -> None:
        record = _record(kind, sequence, content)
        if self._file is None or self._file_size + len(record) > _LONGEST_FILE or not self._kept:
            self._rewrite()
            return
        try:
            _write(self._file, record)
        except OSError as error:
            self._fail(error)
            return
        self._file_size += len(record)

    def _rewrite(self) -> None:
        """Replace the file by what is kept now, and the last number that was given."""
        records = [_record(_ALERT, each.sequence, each.content) for each in self._kept]
        taken = self._kept[0].sequence - 1 if self._kept else self._last
        data = b"".join([_record(_TAKEN, taken, b""), *records])
        fresh = self._path.with_name(".alerts.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            descriptor = os.open(fresh, flags, 0o600)
            try:
                _write(descriptor, data)
                if records:  # they may have lain on the disk for long
                    os.fdatasync(descriptor)
                fresh.replace(self._path)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            self._fail(error)
            return
        if self._file is not None:
            os.close(self._file)
        self._file, self._file_size, self._replaced = descriptor, len(data), True
        self.problem = None

    def _fail(self, error: OSError) -> None:
        """Go on in memory; the next record is tried with a new file."""
        if self.problem is None:
            logger.error("alerts cannot be kept on the disk: %s", error.strerror)
        self.problem = f"alerts: {error.strerror}"
        if self._file is not None:
            os.close(self._file)
        self._file = None


def _kept(alert: agent_pb2.Alert) -> _Kept:
    content = alert.SerializeToString()
    return _Kept(alert.sequence, content, alert.container_id, alert.policy_uid)


def _nobody(_: str) -> None:
    """Tell nobody."""


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it: a full disk takes a part without a word."""
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record(kind: int, sequence: int, content: bytes) -> bytes:
    check = zlib.crc32(content, sequence & 0xFFFFFFFF)
    return _HEAD.pack(len(content), check, kind, sequence) + content


def _records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give the records of a file, up to the first that is not whole."""
    place = 0
    while place + _HEAD.size <= len(data):
        length, check, kind, sequence = _HEAD.unpack_from(data, place)
        content = data[place + _HEAD.size :][:length]
        if len(content) < length or zlib.crc32(content, sequence & 0xFFFFFFFF) != check:
            logger.error("the file of alerts is damaged behind byte %d", place)
            return
        yield kind, sequence, content
        place += _HEAD.size + length
