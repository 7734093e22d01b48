# SPDX-License-Identifier: Apache-2.0
"""Files that components read: written whole, and only when their content changes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write(path: Path, text: str, *, mode: int = 0o644) -> str:
    """Write `text` unless the file has it already; gives the path as text."""
    if path.exists() and path.read_text() == text:
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    fresh.rename(path)
    return str(path)


def write_json(path: Path, content: Mapping[str, object], *, mode: int = 0o644) -> str:
    """Write `content` as JSON, which is YAML too; gives the path as text."""
    return write(path, json.dumps(content, indent=2) + "\n", mode=mode)
