# SPDX-License-Identifier: Apache-2.0
"""Sets of paths that the kernel can tell: bpf/include/match_path.h, WHERE_PATH."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain
from operator import or_
from typing import Self

from eunomia_agent.kernel.btf import Btf

MAX_PATHS = 512
"""MAX_WHERE_PATHS: entries of each of the two maps."""
_PREFIX = struct.Struct("=I256sI")  # struct path_key (bits, path), and a set of classes
_NAME = struct.Struct("=64sI")  # struct name_key, and a set of classes
_NUMBER = struct.Struct("=I")
_USED = struct.Struct("=2I")  # struct path_classes: of all prefixes, of all names
_NAME_BITS, _FOLDER_BITS, _SIEVE_DEPTH = 10, 8, 4
_SIEVE = struct.Struct(f"={1 + (1 << _NAME_BITS) + 2 * (1 << _FOLDER_BITS)}I")  # struct path_sieve
_FACTOR = 0x9E3779B97F4A7C15
_LONGEST_PATH, _LONGEST_NAME = 255, 63
CONDITION = "where_"
"""How variables begin that hold a job's conditions on a column: `WHERE(column)` of match.h."""
PATH_VARIABLES = ("used", "free", "sieve")
"""How variables end of a column that is a path."""
_PREFIXES, _NAMES = "_prefixes", "_names"
"""How they end, in maps of a column that is a path."""
_AS, _TRUE = "_as_", b"\x01"
"""Between the two columns of a WHERE_PATH_AS(), and what it is set to."""


DISK = 15
"""PATH_DISK: stands for the kind of an open of a block device."""
ALL = 2**32 - 1
"""PATH_ALL: every class of events."""


@dataclass(frozen=True, slots=True)
class PathSet:
    """Paths that begin with one of some bytes, or whose last part is one of some names.

    A whole path is a prefix that ends with a NUL. others: further columns with a path of the same
    file that may be among them instead, see WHERE_PATH_AS.
    """

    prefixes: frozenset[bytes] = frozenset()
    names: frozenset[bytes] = frozenset()
    others: frozenset[str] = frozenset()

    @classmethod
    def union(cls, sets: Iterable[Self]) -> Self | None:
        """Return the paths that are in any of them; None where these are more than fit."""
        each = list(sets)
        prefixes = frozenset[bytes]().union(*(one.prefixes for one in each))
        names = frozenset[bytes]().union(*(one.names for one in each))
        others = frozenset[str]().union(*(one.others for one in each))
        fits = each and max(len(prefixes), len(names)) <= MAX_PATHS
        return cls(prefixes, names, others) if fits else None

    def variables(self, column: str) -> dict[str, bytes]:
        """Return the column's variables and maps with what they hold, for all events."""
        return PathsByClass.of({ALL: self}).variables(column)


@dataclass(frozen=True, slots=True)
class PathsByClass:
    """Which classes of events each path is wanted of, and of which all paths are."""

    prefixes: Mapping[bytes, int] = field(hash=False)
    names: Mapping[bytes, int] = field(hash=False)
    free: int = 0
    others: frozenset[str] = frozenset()

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
        others = frozenset[str]().union(*(paths.others for paths in sets.values()))
        return cls(prefixes, names, free, others)

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
            "_sieve": _sieve(self.prefixes, self.names),
        }
        asked = {f"{CONDITION}{other}{_AS}{column}": _TRUE for other in self.others}
        return asked | {
            f"{CONDITION}{column}{end}": content for end, content in entries.items() if content
        }

    def _classes_of(self, path: bytes) -> int:
        shorter = (self.prefixes.get(path[:end], 0) for end in range(1, len(path) + 1))
        return reduce(or_, shorter)


def _sieve(prefixes: Mapping[bytes, int], names: Mapping[bytes, int]) -> bytes:
    """Return struct path_sieve: what rules paths out by the hashes of their names."""
    by_name = [0] * (1 << _NAME_BITS)
    for name, classes in names.items():
        by_name[_name_hash(0, name) >> 64 - _NAME_BITS] |= classes
    anywhere = 0
    on, enough = ([0] * (1 << _FOLDER_BITS) for _ in range(2))
    for prefix, classes in prefixes.items():
        above, folders = 0, _folders(prefix)
        if not folders and prefix.startswith((b"/", b".")):  # else it begins at no root, and passes
            anywhere |= classes
        for depth, folder in enumerate(folders[:_SIEVE_DEPTH], start=1):
            above = _name_hash(above, folder)
            into = enough if depth == len(folders) else on
            into[above >> 64 - _FOLDER_BITS] |= classes
    return _SIEVE.pack(anywhere, *by_name, *chain.from_iterable(zip(on, enough, strict=True)))


def _folders(prefix: bytes) -> list[bytes]:
    """Return the names, from the root on, that all paths have whole which begin so."""
    if not prefix.startswith(b"/"):
        return []
    *names, _ = prefix.replace(b"\0", b"/").split(b"/")
    return [name for name in names if name]


def _name_hash(above: int, name: bytes) -> int:
    """Return name_hash of match_path.h."""
    return (above + (int.from_bytes(name[:8], "little") ^ len(name))) * _FACTOR % 2**64


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


def path_columns(btf: Btf) -> dict[str, str]:
    """Return the columns that an object can tell paths of, each with the one whose sets it is in.

    They are those of WHERE_PATH() in C, by themselves, and those of WHERE_PATH_AS().
    """
    maps = (name for name in btf.maps() if name.startswith(CONDITION))
    columns = [
        name.removeprefix(CONDITION).removesuffix(_PREFIXES)
        for name in maps
        if name.endswith(_PREFIXES)
    ]
    variables = [name.removeprefix(CONDITION) for name in btf.section(".rodata")]
    return {column: column for column in columns} | {
        name.removesuffix(_AS + column): column
        for column in columns
        for name in variables
        if name.endswith(_AS + column)
    }


def path_variables(btf: Btf) -> frozenset[str]:
    """Return the variables of an object that paths are set by."""
    ends = {
        f"{column}_{end}" if name == column else f"{name}{_AS}{column}"
        for name, column in path_columns(btf).items()
        for end in PATH_VARIABLES
    }
    return frozenset(CONDITION + end for end in ends)
