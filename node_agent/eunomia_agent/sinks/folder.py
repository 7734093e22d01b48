# SPDX-License-Identifier: Apache-2.0
"""A folder of our own in a place that others may write to: no link in it is ever followed."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file in a folder. size: bytes. changed: Unix time in nanoseconds."""

    name: str
    size: int
    changed: int


class Folder:
    """Files of root/parts…, held by the folder's descriptor: made 0700, files 0600."""

    def __init__(self, root: Path, *parts: str) -> None:
        """Make what is missing. Raises OSError."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                _make(part, fd)
                inner = os.open(part, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def gone(self) -> bool:
        """Whether the folder was removed."""
        return os.fstat(self._fd).st_nlink == 0

    def append(self, name: str) -> int:
        """Open a file to append to; return its descriptor. Raises OSError."""
        fd = os.open(name, _APPEND, 0o600, dir_fd=self._fd)
        told = os.fstat(fd)
        if not stat.S_ISREG(told.st_mode) or told.st_nlink != 1:
            os.close(fd)
            raise OSError(f"{name} is not a file of its own: remove it")
        return fd

    def entries(self) -> list[Entry]:
        """Return the regular files, the one that was longest without a change first."""
        with os.scandir(self._fd) as found:
            entries = [
                Entry(entry.name, told.st_size, told.st_mtime_ns)
                for entry in found
                if stat.S_ISREG((told := entry.stat(follow_symlinks=False)).st_mode)
            ]
        return sorted(entries, key=lambda entry: entry.changed)

    def folders(self) -> list[str]:
        """Return the names of the folders in it."""
        with os.scandir(self._fd) as found:
            return [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]

    def remove_empty(self, name: str) -> None:
        """Remove a folder, if it is empty. One that is not, or not there, is no error."""
        try:
            os.rmdir(name, dir_fd=self._fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise

    def rename(self, name: str, new: str) -> None:
        """Rename a file, over another if need be. One that is not there is no error."""
        try:
            os.rename(name, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except FileNotFoundError:
            return

    def remove(self, name: str) -> None:
        """Remove a file. One that is not there is no error."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return


def _make(name: str, fd: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=fd)
    except FileExistsError:
        return
