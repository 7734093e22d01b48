# SPDX-License-Identifier: Apache-2.0
"""Rows as JSON lines in files: one a container, bounded and rotated."""

import os
import re
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.lines import Lines
from eunomia_agent.sinks.folder import Folder
from eunomia_agent.sinks.quota import TOTAL_BYTES, Quota
from eunomia_agent.sinks.rows import Rows

CLUSTER = "_cluster"
"""Stands for the namespace of jobs that have none; no namespace can be called so."""
MAX_OPEN = 64
CACHED_BYTES = 1 << 20
"""Written bytes of one file after which its pages are written back and dropped: the agent reads
none of them, and they count as its memory."""
ALL_CACHED_BYTES = 16 << 20
"""Likewise of all files: small parts of many files would take several times as long."""
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]")


@dataclass(slots=True)
class _Open:
    fd: int
    size: int
    """Bytes of whole rows."""
    cached: int = 0
    """Bytes written since its pages were dropped."""
    torn: bool = False
    """A write failed in the middle of a row, and the file could not be cut back either."""


class FileSink:
    """Writes root/NAMESPACE/JOB/NAMESPACE_POD_CONTAINER_ID.jsonl, and .jsonl.1 … when rotated.

    job: "namespace/name", or "name" without a namespace. max_bytes: of one file. backups: rotated
    files kept for each. total_bytes: of all files of the job; those longest without a row are
    removed first. all_bytes: of all files of all jobs, see Quota. beside: stands behind the name of
    JOB's folder, for what is not to be pushed out by its rows; with a "_", it is no other job's.
    Nothing is made before the first row.
    """

    name = "file"
    limited = 0

    def __init__(
        self,
        root: Path,
        job: str,
        *,
        max_bytes: int = 64 << 20,
        backups: int = 2,
        total_bytes: int = 1 << 30,
        all_bytes: int = TOTAL_BYTES,
        beside: str = "",
    ) -> None:
        namespace, _, name = job.rpartition("/")
        self._root = root
        room = 253 - len(beside)
        self._parts = (_safe(namespace, 63) if namespace else CLUSTER, _safe(name, room) + beside)
        self._max_bytes = max_bytes
        self._backups = backups
        self._total_bytes = total_bytes
        self._quota = Quota(root, self._parts, all_bytes)
        self._folder: Folder | None = None
        self._used = 0
        self._cached = 0
        self._open = OrderedDict[str, _Open]()
        self.problem: str | None = None

    def write(self, rows: Rows) -> int:
        """Append rows to the file of the owner's container; see Sink."""
        return self.append(file_name(rows.owner), rows.json())

    def append(self, name: str, lines: Lines) -> int:
        """Append lines to a file by its name; return how many, from the first, were accepted."""
        accepted = 0
        try:
            while accepted < len(lines):
                accepted += self._append(name, lines, accepted)
        except OSError as error:
            self.problem = f"{'/'.join((*self._parts, name))}: {error.strerror or error}"
        else:
            self.problem = None
        return accepted

    def close(self) -> None:
        """Close all files."""
        for name in list(self._open):
            self._shut(name)
        if self._folder:
            self._folder.close()
            self._folder = None

    def _append(self, name: str, lines: Lines, first: int) -> int:
        """Append as many lines as fit, at least one; return their number. Raises OSError."""
        file = self._file(name)
        fitting = lines.fitting(self._max_bytes - file.size, first)
        if not fitting and file.size:
            self._rotate(name)
            file = self._file(name)
            fitting = lines.fitting(self._max_bytes, first)
        data = lines.part(first, first + (fitting or 1))
        self._make_room(name, len(data))
        self._quota.spend(name, len(data), new=not file.size)
        return self._write(file, data, lines, first)

    def _write(self, file: _Open, data: memoryview, lines: Lines, first: int) -> int:
        """Write whole lines, of which data begins with `first`; return how many.

        Raises OSError when it is none.
        """
        if file.torn:
            self._cut(file)
        written = 0
        failure: OSError | None = None
        try:
            while written < len(data):
                written += os.write(file.fd, data[written:])
        except OSError as error:
            failure, file.torn = error, True
        whole = lines.fitting(written, first)
        added = len(lines.part(first, first + whole))
        file.size += added
        self._used += added
        file.cached += added
        self._cached += added
        if file.torn:
            with suppress(OSError):
                self._cut(file)
        if file.cached >= CACHED_BYTES:
            self._drop_pages(file)
        elif self._cached >= ALL_CACHED_BYTES:
            for each in self._open.values():
                self._drop_pages(each)
        if failure and not whole:
            raise failure
        return whole

    def _drop_pages(self, file: _Open) -> None:
        """Begin to write pages back, and drop those that were: mm/fadvise.c. None waits for it."""
        self._cached -= file.cached
        file.cached = 0
        with suppress(OSError):
            os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _cut(self, file: _Open) -> None:
        os.ftruncate(file.fd, file.size)
        file.torn = False

    def _file(self, name: str) -> _Open:
        file = self._open.get(name)
        if file and os.fstat(file.fd).st_nlink:
            self._open.move_to_end(name)
            return file
        self._shut(name)  # it was removed from outside
        if len(self._open) >= MAX_OPEN:
            self._shut(next(iter(self._open)))
        fd = self._living_folder().append(name)
        file = self._open[name] = _Open(fd, os.fstat(fd).st_size)
        return file

    def _shut(self, name: str) -> None:
        file = self._open.pop(name, None)
        if file:
            self._drop_pages(file)
            os.close(file.fd)

    def _living_folder(self) -> Folder:
        if self._folder and self._folder.gone:
            self.close()
        if self._folder is None:
            self._folder = Folder(self._root, *self._parts)
            self._used = sum(entry.size for entry in self._folder.entries())
        return self._folder

    def _rotate(self, name: str) -> None:
        self._shut(name)
        folder = self._living_folder()
        names = [name, *(f"{name}.{number}" for number in range(1, self._backups + 1))]
        sizes = {entry.name: entry.size for entry in folder.entries()}
        folder.remove(names[-1])
        self._used -= sizes.get(names[-1], 0)
        for old, new in reversed(list(pairwise(names))):
            folder.rename(old, new)

    def _make_room(self, name: str, more: int) -> None:
        if self._used + more <= self._total_bytes:
            return
        folder = self._living_folder()
        entries = folder.entries()
        self._used = sum(entry.size for entry in entries)
        for entry in entries:
            if self._used + more <= self._total_bytes:
                return
            if entry.name != name:
                self._shut(entry.name)
                folder.remove(entry.name)
                self._used -= entry.size


@lru_cache(maxsize=1024)
def file_name(owner: Owner) -> str:
    """Return the name of an owner's file. Names are not trusted: each becomes a safe part."""
    if owner.kind == "container":
        parts = (
            _safe(owner.namespace, 63),
            _safe(owner.pod, 100),
            _safe(owner.container, 63),
            _safe(owner.short_id, 12),
        )
        return f"{'_'.join(parts)}.jsonl"
    if owner.kind == "host":
        return "host.jsonl"
    return f"{owner.kind}_{_safe(owner.short_id, 12) or owner.cgroup_id}.jsonl"


def _safe(name: str, length: int) -> str:
    safe = _UNSAFE.sub("-", name[:length])
    return f"-{safe[1:]}" if safe.startswith(".") else safe
