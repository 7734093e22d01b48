# SPDX-License-Identifier: Apache-2.0
"""A YAML document with the line of each part. Aliases and doubled keys are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from eunomia_agent.cli.errors import CommandError
from eunomia_api.param import shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values, and the line of each part of them, counted from 1."""

    path: Path
    value: object
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """Return the line of a part, or of the nearest part around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read(path: Path) -> Document:
    """Read a file that holds one document. Raises CommandError with FILE:LINE."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CommandError(f"{path}:{line}: is not UTF-8") from None
    if len(data) > MAX_BYTES:
        raise CommandError(f"{path}:1: is larger than {MAX_BYTES} bytes")
    reader = _Reader(path)
    try:
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        if len(roots) != 1:
            raise CommandError(f"{path}:1: holds {len(roots)} documents; give one job")
        return Document(path, reader.plain(roots[0], ()), reader.lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise CommandError(f"{path}:{line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise CommandError(f"{path}:1: is not YAML: {str(error).partition(chr(10))[0]}") from None


class _Reader:
    """Makes plain values of nodes, noting the line of each. A node that stands twice is refused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[int] = set()
        self.lines: dict[Place, int] = {}

    def plain(self, node: yaml.Node, place: Place) -> object:
        """Return the value of a node. Raises CommandError, YAMLError."""
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        if len(place) > MAX_DEPTH or id(node) in self._seen:
            raise CommandError(f"{self._path}:{line}: is nested too deeply, or stands twice")
        self._seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, AttributeError):  # of dates, numbers, tags
            reason = f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}"
            raise CommandError(f"{self._path}:{line}: {reason}") from None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.value in found:
                raise CommandError(f"{self._path}:{line}: a key is no text, or is there twice")
            self.lines[*place, key.value] = line
            found[key.value] = self.plain(value, (*place, key.value))
        return found
