# SPDX-License-Identifier: Apache-2.0
"""Seccomp profiles under the kubelet's folder, as the operator wants them.

The kubelet reads them by name when a container starts: a file is there whole or not at all, and
stays when it is wanted no more, as long as a pod here may name it: its containers start again.
"""

import hashlib
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from eunomia_api import agent_pb2

logger = logging.getLogger("eunomia.seccomp")

FOLDER = "eunomia"
"""All of it is ours; nothing else below the kubelet's folder is touched."""
MAX_BYTES = 256 * 1024
MAX_FILES = 4096
KEEP_SECONDS = 600.0
"""After it is wanted no more, while no container here wears it."""
KEEP_UNSEEN_SECONDS = 7 * 24 * 3600.0
"""The same, while it is not known what all containers here wear."""
LOOK_SECONDS = 60.0
_PART = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]{0,239}")
_PARTS = 3
"""eunomia/NAMESPACE/NAME.json"""

Check = Callable[[bytes], str | None]
"""Says what is wrong with the content of a profile; None: nothing is."""


def problem_of(content: bytes) -> str | None:
    """Say why a container runtime could make no filter of a profile; None where it can.

    Also None where libseccomp cannot be asked: the kubelet's machine has its own.
    """
    from eunomia_agent.learning.libseccomp import (  # noqa: PLC0415  (few nodes get profiles)
        LibseccompMissing,
        ProfileInvalid,
        compile_profile,
    )

    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            return "it is no JSON object"
        compile_profile(found)
    except ValueError as error:
        return f"it is no JSON: {error}"
    except ProfileInvalid as error:
        return str(error)
    except (LibseccompMissing, OSError) as error:
        logger.warning("a profile is not checked: %s", error)
    return None


class FileRefused(ValueError):
    """A profile is not written; the message says why."""


@dataclass(frozen=True, slots=True)
class Lying:
    """What lies on the disk: its SHA-256 in hexadecimal, "" for nothing, and what is wrong."""

    sha256: str = ""
    problem: str = ""


class SeccompFiles:
    """Writes what is wanted and removes what no longer is. Every call blocks on the disk."""

    def __init__(self, folder: Path, check: Check = lambda _: None) -> None:
        """Prepare. folder: the kubelet's; it need not be there before there is a file to write."""
        self._folder = folder
        self._check = check
        self._wanted: dict[str, agent_pb2.SeccompFile] = {}
        self._lying: dict[str, Lying] = {}
        self._worn: Collection[str] | None = None
        self._sure = False
        self._unwanted_since: dict[str, float] = {}
        self._looked_at = 0.0
        self.any_here = False
        """Whether a file lies here that a container may wear."""

    def apply(self, wanted: Iterable[agent_pb2.SeccompFile]) -> None:
        """Make the files be those that are wanted."""
        fresh = {file.path: file for file in wanted}
        if fresh != self._wanted or not self._looked_at:
            self._wanted = fresh
            self._look()

    def tick(self, worn: Collection[str] | None = None, *, sure: bool = True) -> None:
        """Mend what others changed, and remove what is wanted no more, when it is time to.

        worn: paths of those that containers here wear; None: it is not known who is here. sure:
        there are no more of them.
        """
        if self._worn is None and worn is not None:
            self._unwanted_since.clear()  # who is here comes to be known bit by bit
        self._worn, self._sure = worn, sure
        if self._looked_at and time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()

    def reports(self) -> Sequence[agent_pb2.SeccompFileReport]:
        """Return what lies there of what is wanted, by path."""
        return [
            agent_pb2.SeccompFileReport(path=path, sha256=lying.sha256, problem=lying.problem)
            for path, lying in sorted(self._lying.items())
        ]

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        files = list(self._wanted.values())
        self._lying = {file.path: self._lay(file) for file in files[:MAX_FILES]}
        for file in files[MAX_FILES:]:
            self._lying[file.path] = Lying(problem=f"a node takes at most {MAX_FILES} profiles")
        try:
            self._remove_unwanted()
        except OSError as error:
            logger.error("profiles that are wanted no more stay: %s", error)

    def _lay(self, file: agent_pb2.SeccompFile) -> Lying:
        """Have a file lie there; return what does."""
        try:
            parts = _parts(file.path)
        except FileRefused as error:
            return Lying(problem=str(error))
        problem = ""
        try:
            if _read(self._folder, parts) != file.content:
                self._refuse_wrong(file)
                _write(self._folder, parts, file.content)
        except FileRefused as error:
            problem = str(error)
        except OSError as error:
            problem = f"{self._folder / file.path}: {error.strerror}"
        if problem:
            logger.error("seccomp profile %s: %s", file.path, problem)
        return Lying(self._hash(parts), problem)

    def _refuse_wrong(self, file: agent_pb2.SeccompFile) -> None:
        if len(file.content) > MAX_BYTES:
            raise FileRefused(f"it is longer than {MAX_BYTES} bytes")
        found = hashlib.sha256(file.content).hexdigest()
        if found != file.sha256:
            raise FileRefused(f"its SHA-256 is {found}, not {file.sha256[:64]} as it should be")
        problem = self._check(file.content)
        if problem:
            raise FileRefused(problem)

    def _hash(self, parts: Sequence[str]) -> str:
        with suppress(OSError):
            content = _read(self._folder, parts)
            return "" if content is None else hashlib.sha256(content).hexdigest()
        return ""

    def _remove_unwanted(self) -> None:
        now = time.monotonic()
        ours = frozenset(_ours(self._folder))
        self.any_here = bool(ours)
        there = ours.difference(self._wanted, self._worn or ())
        self._unwanted_since = {path: self._unwanted_since.get(path, now) for path in sorted(there)}
        keep = KEEP_SECONDS if self._worn is not None and self._sure else KEEP_UNSEEN_SECONDS
        for path, since in self._unwanted_since.items():
            if now - since >= keep:
                try:
                    self._remove(path)
                except OSError as error:
                    logger.error("%s is wanted no more, and stays: %s", path, error.strerror)

    def _remove(self, path: str) -> None:
        *folders, name = path.split("/")
        with _opened(self._folder, folders) as folder:
            os.unlink(name, dir_fd=folder)
        with suppress(OSError):  # of a namespace that has others
            (self._folder / Path(*folders)).rmdir()


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    fits = len(parts) == _PARTS and parts[0] == FOLDER and path.endswith(".json")
    if not fits or not all(_PART.fullmatch(part) for part in parts):
        raise FileRefused("its path is not eunomia/NAMESPACE/NAME.json")
    return parts


@contextmanager
def _opened(root: Path, folders: Sequence[str], *, make: bool = False) -> Generator[int]:
    """Open a folder below the root step by step, following no link."""
    if make:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=descriptor)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            inner = os.open(name, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _read(root: Path, parts: Sequence[str]) -> bytes | None:
    """Return what lies there; None where no file does. Raises OSError."""
    *folders, name = parts
    with suppress(FileNotFoundError), _opened(root, folders) as folder:
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return None
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(descriptor, "rb") as file:
            return file.read(MAX_BYTES + 1)
    return None


def _write(root: Path, parts: Sequence[str], content: bytes) -> None:
    """Put a file in place as a whole: readable for all, written by its owner alone."""
    *folders, name = parts
    fresh = f".{name}.new"
    with _opened(root, folders, make=True) as folder:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(fresh, flags, 0o644, dir_fd=folder), "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def _ours(root: Path) -> Iterator[str]:
    """Give the files that lie in our folder, as paths below the kubelet's."""
    own = root / FOLDER
    for folder in sorted(own.iterdir()) if own.is_dir() and not own.is_symlink() else ():
        if folder.is_dir() and not folder.is_symlink():
            yield from (f"{FOLDER}/{folder.name}/{file.name}" for file in sorted(folder.iterdir()))
