# SPDX-License-Identifier: Apache-2.0
"""Rows in a folder that a person named: one file a container, rotated, in any format."""

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.formats import Json
from eunomia_agent.cli.stdout import Format
from eunomia_agent.events.lines import Lines
from eunomia_agent.sinks.file import file_name
from eunomia_agent.sinks.folder import Folder
from eunomia_agent.sinks.rows import Rows

MAX_BYTES = 64 << 20
BACKUPS = 2
MAX_OPEN = 64


def check_folder(root: Path) -> None:
    """Make a folder, if it is not there. Raises CommandError where that cannot be."""
    try:
        Folder(root).close()
    except OSError as error:
        raise CommandError(f"{root}: {error.strerror or error}") from None


@dataclass(slots=True)
class _File:
    fd: int
    format: Format
    size: int


class Files:
    """Writes DIR/NAMESPACE_POD_CONTAINER_ID.jsonl, and .jsonl.1, .2 when rotated.

    What has columns goes into a file for each result of a tracker: …_TRACKER.csv, and
    …_TRACKER_SOURCE.csv, .txt for a table. Unlike the agent's own folder this may hold anything:
    nothing is removed but what is rotated out. make_format: called for each file.
    """

    name = "files"
    limited = 0

    def __init__(
        self, root: Path, make_format: Callable[[], Format], *, max_bytes: int = MAX_BYTES
    ) -> None:
        self._root = root
        self._make_format = make_format
        self._max_bytes = max_bytes
        self._folder: Folder | None = None
        self._open = OrderedDict[str, _File]()
        self.problem: str | None = None

    def write(self, rows: Rows) -> int:
        """Append rows to the file of their container; see Sink."""
        accepted = 0
        name = ""
        try:
            self._folder = self._folder or Folder(self._root)
            name, file = self._file(rows)
            lines = file.format.lines(rows)
            while accepted < len(lines):
                accepted += self._append(name, rows, lines, accepted)
        except OSError as error:
            self.problem = f"{self._root / name}: {error.strerror or error}"
        else:
            self.problem = None
        return accepted

    def append(self, name: str, line: bytes) -> bool:
        """Append a line to a file that is called so; whether that could be done."""
        try:
            self._folder = self._folder or Folder(self._root)
            if name not in self._open:
                self._start(name, self._make_format())
            self._append(name, None, Lines.of([line]), 0)
        except OSError as error:
            self.problem = f"{self._root / name}: {error.strerror or error}"
            return False
        self.problem = None
        return True

    def close(self) -> None:
        """Close all files."""
        for name in list(self._open):
            os.close(self._open.pop(name).fd)
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _file(self, rows: Rows) -> tuple[str, _File]:
        form = self._make_format()
        stem = file_name(rows.owner).removesuffix(".jsonl")
        parts = [stem]
        if form.suffix != Json.suffix:
            parts += [rows.tracker] if rows.source == "events" else [rows.tracker, rows.source]
        name = f"{'_'.join(parts)}.{form.suffix}"
        if name in self._open:
            self._open.move_to_end(name)
            return name, self._open[name]
        if len(self._open) >= MAX_OPEN:
            os.close(self._open.popitem(last=False)[1].fd)
        return name, self._start(name, form)

    def _start(self, name: str, form: Format) -> _File:
        assert self._folder is not None
        fd = self._folder.append(name)
        file = self._open[name] = _File(fd, form, os.fstat(fd).st_size)
        return file

    def _append(self, name: str, rows: Rows | None, lines: Lines, first: int) -> int:
        """Append as many rows as fit, at least one; return their number. Raises OSError."""
        file = self._open[name]
        if file.size and not lines.fitting(self._max_bytes - file.size, first):
            file = self._rotate(name)
        head = self._make_format().head(rows) if rows and not file.size else b""
        count = max(1, lines.fitting(self._max_bytes - len(head), first))
        data = head + bytes(lines.part(first, first + count))
        try:
            _write_whole(file.fd, data)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file.fd, file.size)
            raise
        file.size += len(data)
        return count

    def _rotate(self, name: str) -> _File:
        assert self._folder is not None
        os.close(self._open.pop(name).fd)
        for number in range(BACKUPS, 0, -1):
            old = f"{name}.{number - 1}" if number > 1 else name
            self._folder.rename(old, f"{name}.{number}")
        return self._start(name, self._make_format())


def _write_whole(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
