# SPDX-License-Identifier: Apache-2.0
"""Sets of paths that the kernel can tell: bpf/include/match_path.h, WHERE_PATH."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from eunomia_agent.kernel.btf import Btf

MAX_PATHS = 512
"""MAX_WHERE_PATHS: entries of each of the two maps."""
_PREFIX = struct.Struct("=I256s")  # struct path_key: bits, path
_NAME = struct.Struct("=64s")  # struct name_key
_USED = struct.Struct("=I")  # enum path_use
_USE_PREFIXES, _USE_NAMES = 1, 2
_LONGEST_PATH, _LONGEST_NAME = 255, 63
CONDITION = "where_"
"""How variables begin that hold a job's conditions on a column: `WHERE(column)` of match.h."""
_PREFIXES, _NAMES = "_prefixes", "_names"
"""How they end, in maps of a column that is a path."""


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
        """Return the column's variable and maps with what they hold: keys behind one another."""
        used = (_USE_PREFIXES if self.prefixes else 0) | (_USE_NAMES if self.names else 0)
        keys = {
            _PREFIXES: b"".join(_PREFIX.pack(8 * len(one), one) for one in sorted(self.prefixes)),
            _NAMES: b"".join(_NAME.pack(one) for one in sorted(self.names)),
        }
        filled = {f"{CONDITION}{column}{end}": packed for end, packed in keys.items() if packed}
        return {f"{CONDITION}{column}_used": _USED.pack(used), **filled}


def path_columns(btf: Btf) -> frozenset[str]:
    """Return the columns that an object can tell paths of: those of WHERE_PATH() in C."""
    ends = (name for name in btf.maps() if name.startswith(CONDITION))
    return frozenset(
        name.removeprefix(CONDITION).removesuffix(_PREFIXES)
        for name in ends
        if name.endswith(_PREFIXES)
    )


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
