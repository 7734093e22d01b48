# SPDX-License-Identifier: Apache-2.0
"""One bound on the files of all jobs, those that are deleted included."""

from collections.abc import Iterator
from pathlib import Path

from eunomia_agent.sinks.folder import Entry, Folder

TOTAL_BYTES = 4 << 30
LEAST_BYTES = 256 << 10
"""What a file counts as at least: so their number is bounded, too."""
CHECKS = 1024
"""How many times the bound is looked at while as much is written as it allows."""

Place = tuple[str, str]
"""A job's folder below the root: NAMESPACE, JOB."""


class Quota:
    """Keeps root/NAMESPACE/JOB/FILE within a bound, as one job sees to it that writes there.

    Files that were longest without a row go first, whosever they are, and folders that are left
    empty with them. The bound is looked at before a job's first row and then each time that the
    job has written a 1024th of it, so that many jobs together may be above it by as much each.
    """

    def __init__(self, root: Path, place: Place, total_bytes: int = TOTAL_BYTES) -> None:
        self._root = root
        self._place = place
        self._total_bytes = total_bytes
        self._due = 0

    def spend(self, name: str, size: int, *, new: bool) -> None:
        """Take note of bytes to be written to a file of the job, which is kept. Raises OSError.

        new: whether the file is about to be made.
        """
        self._due -= max(size, LEAST_BYTES) if new else size
        if self._due < 0:
            self._due = self._total_bytes // CHECKS
            self._enforce(name, size)

    def _enforce(self, name: str, more: int) -> None:
        files = list(self._files())
        used = more + sum(_charge(entry) for _, entry in files)
        for place, entry in sorted(files, key=lambda file: file[1].changed):
            if used <= self._total_bytes:
                break
            if (place, entry.name) != (self._place, name):
                with Folder(self._root, *place) as folder:
                    folder.remove(entry.name)
                used -= _charge(entry)
        self._remove_empty()

    def _files(self) -> Iterator[tuple[Place, Entry]]:
        for place in self._places():
            with Folder(self._root, *place) as folder:
                for entry in folder.entries():
                    yield place, entry

    def _places(self) -> list[Place]:
        with Folder(self._root) as root:
            namespaces = root.folders()
        found: list[Place] = []
        for namespace in namespaces:
            with Folder(self._root, namespace) as folder:
                found += [(namespace, job) for job in folder.folders()]
        return found

    def _remove_empty(self) -> None:
        for namespace, job in self._places():
            if (namespace, job) != self._place:
                with Folder(self._root, namespace) as folder:
                    folder.remove_empty(job)
        with Folder(self._root) as root:
            for namespace in root.folders():
                root.remove_empty(namespace)


def _charge(entry: Entry) -> int:
    return max(entry.size, LEAST_BYTES)
