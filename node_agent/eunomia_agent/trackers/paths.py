# SPDX-License-Identifier: Apache-2.0
"""Sets of paths that the kernel can tell: bpf/include/match_path.h, WHERE_PATH."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Self

from eunomia_agent.kernel.btf import Btf

MAX_PATHS = 512
"""MAX_WHERE_PATHS: entries of each of the two maps."""
_PREFIX = struct.Struct("=I256sI")  # struct path_key (bits, path), and a set of classes
_NAME = struct.Struct("=64sI")  # struct name_key, and a set of classes
_NUMBER = struct.Struct("=I")
_USED = struct.Struct("=2I")  # struct path_classes: of all prefixes, of all names
_LONGEST_PATH, _LONGEST_NAME = 255, 63
CONDITION = "where_"
"""How variables begin that hold a job's conditions on a column: `WHERE(column)` of match.h."""
_PREFIXES, _NAMES = "_prefixes", "_names"
"""How they end, in maps of a column that is a path."""


ALL = 2**32 - 1
"""PATH_ALL: every class of events."""


@dataclass(frozen=True, slots=True)
class PathSet:
    """Paths that begin with one of some bytes, or whose last part is one of some names.

    A whole path is a prefix that ends with a NUL.
    """

    prefixes: frozenset[bytes] = frozenset()
    names: frozenset[bytes] = frozenset()

    @classmethod
    def union(cls, sets: Iterable[Self]) -> Self | None:
        """Return the paths that are in any of them; None where these are more than fit."""
        each = list(sets)
        prefixes = frozenset[bytes]().union(*(one.prefixes for one in each))
        names = frozenset[bytes]().union(*(one.names for one in each))
        fits = each and max(len(prefixes), len(names)) <= MAX_PATHS
        return cls(prefixes, names) if fits else None

    def variables(self, column: str) -> dict[str, bytes]:
        """Return the column's variables and maps with what they hold, for all events."""
        return PathsByClass.of({ALL: self}).variables(column)


@dataclass(frozen=True, slots=True)
class PathsByClass:
    """Which classes of events each path is wanted of, and of which all paths are."""

    prefixes: Mapping[bytes, int] = field(hash=False)
    names: Mapping[bytes, int] = field(hash=False)
    free: int = 0

    @classmethod
    def of(cls, sets: Mapping[int, PathSet], free: int = 0) -> Self:
        """Return what sets of paths come to, each for some classes; free: classes without one."""
        prefixes: dict[bytes, int] = {}
        names: dict[bytes, int] = {}
        for classes, paths in sets.items():
            for prefix in paths.prefixes:
                prefixes[prefix] = prefixes.get(prefix, 0) | classes
            for name in paths.names:
                names[name] = names.get(name, 0) | classes
        return cls(prefixes, names, free)

    @property
    def fits(self) -> bool:
        """Whether the kernel's maps have room for them."""
        return max(len(self.prefixes), len(self.names)) <= MAX_PATHS

    def variables(self, column: str) -> dict[str, bytes]:
        """Return the column's variables and maps with what they hold: entries behind one another.

        The kernel finds the longest prefix alone, which therefore stands for those in it, too.
        """
        used = (reduce(or_, each.values(), 0) for each in (self.prefixes, self.names))
        entries = {
            _PREFIXES: b"".join(
                _PREFIX.pack(8 * len(each), each, self._classes_of(each))
                for each in sorted(self.prefixes)
            ),
            _NAMES: b"".join(_NAME.pack(*each) for each in sorted(self.names.items())),
            "_used": _USED.pack(*used),
            "_free": _NUMBER.pack(self.free),
        }
        return {f"{CONDITION}{column}{end}": content for end, content in entries.items() if content}

    def _classes_of(self, path: bytes) -> int:
        shorter = (self.prefixes.get(path[:end], 0) for end in range(1, len(path) + 1))
        return reduce(or_, shorter)


def class_of(kind: int, *, writing: bool) -> int:
    """Return the class of events of a kind that write, or do not: PATH_CLASS."""
    return 1 << (kind & 15 | (16 if writing else 0))


def path_set(sign: str, value: object) -> tuple[PathSet | None, bool]:
    """Return paths that all rows of a comparison are among, and whether these are all there is.

    That is so as far as paths are known whole: see pushdown.split.
    """
    # A backslash may stand for a byte that is no text: see events/render.py.
    if not isinstance(value, str) or not value or "\\" in value or "\0" in value:
        return None, False
    text = value.encode()
    if sign == "==" and len(text) <= _LONGEST_PATH:
        return PathSet(prefixes=frozenset({text + b"\0"})), True
    if sign == "startsWith" and len(text) <= _LONGEST_PATH:
        return PathSet(prefixes=frozenset({text})), True
    folder, slash, name = text.rpartition(b"/")
    if sign == "endsWith" and slash and 0 < len(name) <= _LONGEST_NAME:
        return PathSet(names=frozenset({name})), not folder
    return None, False


def path_columns(btf: Btf) -> frozenset[str]:
    """Return the columns that an object can tell paths of: those of WHERE_PATH() in C."""
    ends = (name for name in btf.maps() if name.startswith(CONDITION))
    return frozenset(
        name.removeprefix(CONDITION).removesuffix(_PREFIXES)
        for name in ends
        if name.endswith(_PREFIXES)
    )
