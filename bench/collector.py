# SPDX-License-Identifier: Apache-2.0
"""Collectors: what is compared, each described by one file in collectors/ (docs/benchmarks.md)."""

import re
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.peers import PATH, Root, machine, peers
from dev.command import environment
from dev.folders import PROJECT

FOLDER = Path(__file__).parent / "collectors"
PLACEHOLDER = re.compile(r"<(each:[^>]*|[a-z_]+)>")
ROOTS = {"machine": machine, "peers": peers}


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to run a collector.

    Texts may hold <marker> and <port> (what each event shows), <probe_port> (what those that are
    not counted show), <comm> (of the traced process),
    <cgroup> (the path), <each:TEXT> (TEXT once for each traced cgroup, its id in place of %),
    <output> (a folder), <files> (the folder with `files`: text by name) and <python>.
    row: a regular expression, one match of which is one event delivered. total: one whose only
    group is a number of events, of which the sum is delivered; instead of row. lost: the same
    for what the collector says it lost. ready: what it prints when its programs are attached;
    without it `wait` seconds pass, or, where that is 0, events are made until `probed` is in its
    output: by default what makes such events known.
    """

    commands: tuple[tuple[str, ...], ...]
    row: str = "<marker>"
    total: str = ""
    lost: str = ""
    ready: str = ""
    probed: str = ""
    wait: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    note: str = ""

    def filled(self, values: Mapping[str, str]) -> "Trial":
        """Return the trial with its placeholders replaced."""
        return Trial(
            commands=tuple(
                tuple(_fill(word, values) for word in command) for command in self.commands
            ),
            row=_fill(self.row, {name: re.escape(value) for name, value in values.items()}),
            total=_fill(self.total, values),
            lost=self.lost,
            ready=self.ready,
            probed=self.probed,
            wait=self.wait,
            environment=self.environment,
            files={name: _fill(text, values) for name, text in self.files.items()},
            note=self.note,
        )


@dataclass(frozen=True, slots=True)
class Collector:
    """A program that traces. trials: by workload, then by mode."""

    name: str
    ours: bool
    root: Root
    version: tuple[str, ...]
    trials: Mapping[str, Mapping[str, Trial]]

    def missing(self) -> str:
        """Return why it cannot run here; empty where it can."""
        return self.root.missing(self.version[0])

    def told_version(self) -> str:
        """Return what it says of its version, in one line."""
        ended = subprocess.run(
            self.root.command(self.version),
            capture_output=True,
            text=True,
            env=environment({"PATH": PATH}),
            check=False,
        )
        lines = (ended.stdout + ended.stderr).strip().splitlines()
        found = re.search(r"\d+\.\d+[\w.+~-]*", lines[-1] if lines else "")
        return found[0] if found else "unknown"


def collectors(folder: Path = FOLDER) -> list[Collector]:
    """Read all descriptions, ours first. Raises BenchError naming the file and what is wrong."""
    found = [read(path) for path in sorted(folder.glob("*.toml"))]
    return sorted(found, key=lambda collector: (not collector.ours, collector.name))


def read(path: Path) -> Collector:
    """Read one description."""
    try:
        told = tomllib.loads(path.read_text())
        return Collector(
            name=told["name"],
            ours=told.get("ours", False),
            root=ROOTS[told.get("root", "machine")](),
            version=tuple(told["version"]),
            trials={
                workload: {mode: _trial(text) for mode, text in modes.items()}
                for workload, modes in told["trials"].items()
            },
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{path.relative_to(PROJECT)}: {error!r}") from error


def _trial(told: dict[str, Any]) -> Trial:
    fields = dict(told)
    commands: Sequence[Sequence[str]] = fields.pop("commands", None) or [fields.pop("command")]
    for name in ("row", "total", "lost", "ready", "probed"):
        re.compile(PLACEHOLDER.sub("x", fields.get(name, "")))
    return Trial(commands=tuple(tuple(command) for command in commands), **fields)


def _fill(text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, _, repeated = found[1].partition(":")
        if name == "each":
            return " ".join(repeated.replace("%", each) for each in values["cgroup_ids"].split())
        return values.get(name, found[0])

    return PLACEHOLDER.sub(value, text)
