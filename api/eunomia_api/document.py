# SPDX-License-Identifier: Apache-2.0
"""A YAML file that a person wrote, with the line of each of its parts.

Hostile input is bounded: aliases and doubled keys are refused, and so is what is too large or
nested too deeply.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from eunomia_api.param import shown

Place = tuple[str | int, ...]
MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MOST_ERRORS = 10

Model = TypeVar("Model", bound=BaseModel)


class DocumentInvalid(ValueError):
    """A file is not what it should be; a line for each reason, beginning with FILE:LINE."""


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values, with the line of each, counted from 1."""

    name: str
    """The file's, as errors call it."""
    value: object
    lines: Mapping[Place, int]

    def problem(self, place: Place, reason: str) -> str:
        """Return a reason with the file and the line of a part, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.name}:{self.lines.get(place, 1)}: {reason}"

    def validated(self, model: type[Model]) -> Model:
        """Return the document as a model. Raises DocumentInvalid."""
        try:
            return model.model_validate(self.value)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False, include_context=False)[:MOST_ERRORS]
            reasons = [self.problem(error["loc"], _spoken(error)) for error in errors]
            raise DocumentInvalid("\n".join(reasons)) from None


def read(name: str, data: bytes) -> Document:
    """Return the one document of a YAML file. Raises DocumentInvalid."""
    if len(data) > MAX_BYTES:
        raise DocumentInvalid(f"{name}:1: is larger than {MAX_BYTES} bytes")
    try:
        roots = list(yaml.compose_all(data.decode(), Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentInvalid(f"{name}:{line}: is not UTF-8: {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DocumentInvalid(f"{name}:{line}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise DocumentInvalid(f"{name}:1: is not YAML: {reason}") from error
    if len(roots) > 1:
        raise DocumentInvalid(f"{name}:1: holds {len(roots)} documents; give one")
    reader = _Reader(name)
    value = reader.plain(roots[0], ()) if roots else None
    return Document(name, value, reader.lines)


class _Reader:
    """Makes plain values of nodes, noting the line of each part."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: set[int] = set()
        self.lines: dict[Place, int] = {}

    def plain(self, node: yaml.Node, place: Place) -> object:
        """Return the value of a node. Raises DocumentInvalid."""
        line = node.start_mark.line + 1
        if len(place) > MAX_DEPTH:
            raise DocumentInvalid(f"{self._name}:{line}: is nested too deeply")
        if id(node) in self._seen:
            raise DocumentInvalid(f"{self._name}:{line}: an alias stands for it: write it out")
        self._seen.add(id(node))
        self.lines[place] = line
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, AttributeError):  # of dates, numbers, tags
            reason = f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}"
            raise DocumentInvalid(f"{self._name}:{line}: {reason}") from None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or name in found:
                reason = f"{shown(name)} is no key, or is there twice"
                raise DocumentInvalid(f"{self._name}:{line}: {reason}")
            found[name] = self.plain(value, (*place, name))
            self.lines[*place, name] = line
        return found


def _spoken(error: ErrorDetails) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    meaning = {"extra_forbidden": "there is no such field", "missing": "is required"}.get(
        error["type"], error["msg"].removeprefix("Value error, ")
    )
    return f"{place.removeprefix('.')}: {meaning}" if place else meaning
