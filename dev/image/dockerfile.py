# SPDX-License-Identifier: Apache-2.0
"""What a Dockerfile builds from: its stages, and the files that its context lets through.

References: Docker's "Dockerfile reference" (FROM) and "Build context" (.dockerignore).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FROM = re.compile(
    r"^FROM\s+(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*$", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class Stage:
    """One FROM line: its image, and the name that --target takes."""

    image: str
    name: str


def stages(text: str) -> list[Stage]:
    """The named stages in their order."""
    return [Stage(match["image"], match["name"]) for match in FROM.finditer(text) if match["name"]]


def bases(text: str) -> list[str]:
    """The images that come from outside of the file, each once."""
    names = {stage.name for stage in stages(text)}
    return sorted({match["image"] for match in FROM.finditer(text)} - names)


def digest(project: Path) -> str:
    """A digest of the Dockerfile and of the whole context: same digest, same image."""
    summary = hashlib.sha256((project / "Dockerfile").read_bytes())
    for path in sorted(context(project)):
        executable = "x" if path.stat().st_mode & 0o100 else "-"
        summary.update(f"{path.relative_to(project)} {executable}\n".encode())
        summary.update(hashlib.sha256(path.read_bytes()).digest())
    return summary.hexdigest()


def context(project: Path) -> Iterator[Path]:
    """The files that .dockerignore lets through, .dockerignore itself among them."""
    ignore = project / ".dockerignore"
    lines = ignore.read_text().splitlines() if ignore.exists() else []
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for entry in project.iterdir():
        if not entry.name.startswith(".") and not ignored(entry.name, rules):
            yield from _files(entry, project, rules)
    if ignore.exists():
        yield ignore


def ignored(path: str, rules: Sequence[str]) -> bool:
    """Whether rules exclude a path relative to the context: the last that matches decides.

    A rule matches the path or a folder above it, `**` any number of folders, `!` lets in again.
    """
    verdict = False
    for rule in rules:
        pattern = rule.removeprefix("!").strip("/")
        if re.fullmatch(f"{_expression(pattern)}(/.*)?", path):
            verdict = not rule.startswith("!")
    return verdict


def _files(entry: Path, project: Path, rules: Sequence[str]) -> Iterator[Path]:
    if ignored(str(entry.relative_to(project)), rules):
        return
    if entry.is_dir():
        for child in entry.iterdir():
            yield from _files(child, project, rules)
    elif entry.is_file():
        yield entry


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(part, re.escape(part)) for part in parts)
