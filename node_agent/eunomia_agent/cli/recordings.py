# SPDX-License-Identifier: Apache-2.0
"""Rows that `eunomia run --fmt json` or the daemon wrote, read again in the order of their time."""

import heapq
from collections.abc import Iterator
from pathlib import Path

from eunomia_agent.cli.errors import CommandError
from eunomia_agent.rules.errors import RowInvalid
from eunomia_agent.rules.recorded import Event
from eunomia_agent.trackers.catalogue import Tracker

SUFFIXES = (".jsonl", ".json")
BLOCK = 1 << 20
LONGEST_LINE = 1 << 20


def read(place: Path, trackers: dict[str, Tracker]) -> Iterator[Event]:
    """Give the rows of some trackers in a file, or in all files of a folder.

    Of a folder: those called *.jsonl and *.json, and older parts of them (.jsonl.1, .jsonl.2); one
    row a line. Alerts in them are passed over. Raises CommandError with FILE:LINE.
    """
    parts = [_events(older, trackers) for older in _files(place)]
    return heapq.merge(*parts, key=lambda event: event.time_ns)


def _files(place: Path) -> list[Path]:
    try:
        found = sorted(place.iterdir()) if place.is_dir() else [place]
    except OSError as error:
        raise CommandError(f"{place}: {error.strerror}") from None
    if not place.is_dir():
        return found
    wanted = [path for path in found if path.is_file() and _is_of_rows(path)]
    if not wanted:
        raise CommandError(f"{place}: holds no file called *.jsonl or *.json")
    return wanted


def _is_of_rows(path: Path) -> bool:
    stem = path.with_suffix("") if path.suffix.removeprefix(".").isdecimal() else path
    return stem.suffix in SUFFIXES


def _events(path: Path, trackers: dict[str, Tracker]) -> Iterator[Event]:
    for number, line in enumerate(_lines(path), start=1):
        try:
            event = _event(line, trackers)
        except RowInvalid as error:
            if not line.endswith(b"\n"):
                return  # whoever writes it is not done
            raise CommandError(f"{path}:{number}: {error}") from None
        if event is not None:
            yield event


def _event(line: bytes, trackers: dict[str, Tracker]) -> Event | None:
    text = line.strip()
    if not text:
        return None
    if len(text) > LONGEST_LINE:
        raise RowInvalid(f"is longer than {LONGEST_LINE} bytes")
    event = Event.parse(text)
    if event.tracker not in trackers or {"rule", "severity"} <= event.row.keys():
        return None
    event.check(trackers[event.tracker])
    return event


def _lines(path: Path) -> Iterator[bytes]:
    """Give lines, a block at a time: no file stays open, for there may be any number of them."""
    offset = 0
    while True:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                lines = file.readlines(BLOCK)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from None
        if not lines:
            return
        offset += sum(map(len, lines))
        yield from lines
