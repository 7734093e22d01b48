# SPDX-License-Identifier: Apache-2.0
"""All that one run measured, as JSON keeps it: rows of plain values, by section."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

Row = Mapping[str, Any]


@dataclass(slots=True)
class Results:
    """sections: rows by section; figures: those of bench.figure; failures: why, by what."""

    machine: dict[str, str] = field(default_factory=dict[str, str])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    sections: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    figures: list[Row] = field(default_factory=list[Row])

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what `write` wrote."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        """Keep all of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def rows(self, section: str, **wanted: object) -> list[Row]:
        """Return the rows of a section whose values are as wanted."""
        return [
            row
            for row in self.sections.get(section, [])
            if all(row[name] == value for name, value in wanted.items())
        ]

    def figure(self, name: str) -> Row | None:
        """Return a figure by its name, where it was measured."""
        return next((row for row in self.figures if row["name"] == name and row["values"]), None)


def machine(*, quick: bool) -> dict[str, str]:
    """Return what one must know of this machine and this run."""
    told = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": platform.release(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "Eunomia": version("eunomia"),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }
    return {**told, "quick": "a smoke test: its figures are worth nothing"} if quick else told


def names(rows: Sequence[Row]) -> list[str]:
    """Return the collectors of rows, each once, in their order."""
    return list(dict.fromkeys(row["collector"] for row in rows))
