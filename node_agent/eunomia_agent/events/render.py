# SPDX-License-Identifier: Apache-2.0
"""Renderers: a column of values becomes text for people, or fragments of JSON.

A typedef of eunomia.h has one renderer of its name; what has none is rendered by its C type.
Nothing here lets a control character, or a byte that is not UTF-8, through unescaped:

- text: backslash notation for what is not printable, as in `\\n`, `\\x1b`, `\\xff`; a backslash
  itself is doubled, so that no two names look the same.
- JSON: ASCII alone, by JSON's own escapes; a byte that is not UTF-8 is the four characters `\\xff`.
"""

import json as standard_json
import math
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from numpy.typing import NDArray

from eunomia_agent.events import names
from eunomia_agent.events.layout import REFERENCES, SLOTS, Column

Values = Sequence[bytes] | NDArray[Any]
Render = Callable[[Column, Values], list[str]]


MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address has in front when it stands as one of IPv6."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """Two ways to show a column."""

    text: Render
    json: Render


def text(column: Column, values: Values) -> list[str]:
    """Return values as people read them, one string each."""
    return _renderer(column).text(column, values)


def json(column: Column, values: Values) -> list[str]:
    """Return values as fragments of JSON, one each."""
    return _renderer(column).json(column, values)


def has_meaning(column: Column) -> bool:
    """Whether the column is rendered by its typedef: if it is one, of the C type that it should be.

    Otherwise it is rendered by its C type.
    """
    if column.meaning not in _BY_MEANING:
        return False
    kind, size = _C_TYPES.get(column.meaning, ("number", 0))
    return column.kind in (("int", "uint") if kind == "number" else (kind,)) and (
        not size or column.size == size
    )


def escaped(value: str) -> str:
    """Return a string with printable characters only."""
    if value.isprintable() and "\\" not in value:
        return value
    return "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in value)


def decoded(value: bytes) -> str:
    """Return bytes as a string; those that are not UTF-8 as `\\xff`."""
    return value.decode("utf-8", "backslashreplace")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _readable(value: bytes) -> str:
    """Return bytes as printable characters; a bad byte and a written `\\xff` stay apart."""
    try:
        return escaped(value.decode())
    except UnicodeDecodeError:
        whole = value.decode("utf-8", "surrogateescape")
        return "".join(
            f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else escaped(c) for c in whole
        )


def _strings_text(_: Column, values: Values) -> list[str]:
    return [_readable(value) for value in values]


def _strings_json(_: Column, values: Values) -> list[str]:
    whole = b"".join(values)
    if whole.isascii():
        return [quoted(value.decode("ascii")) for value in values]
    return [quoted(value.decode("utf-8", "backslashreplace")) for value in values]


def _arguments(value: bytes) -> list[bytes]:
    """Split arguments: each ends with a NUL, but for a last one that was cut off."""
    return value.removesuffix(b"\0").split(b"\0") if value else []


def _args_text(_: Column, values: Values) -> list[str]:
    return [" ".join(_word(part) for part in _arguments(value)) for value in values]


def _word(argument: bytes) -> str:
    word = _readable(argument)
    return f"'{word}'" if not word or " " in word or "'" in word else word


def _args_json(_: Column, values: Values) -> list[str]:
    return [f"[{','.join(quoted(decoded(a)) for a in _arguments(value))}]" for value in values]


def _addresses(value: bytes) -> list[str]:
    """Return a stack, u64 addresses of the innermost function first, in hexadecimal."""
    whole = len(value) // 8 * 8
    return [hex(address) for (address,) in struct.iter_unpack("=Q", value[:whole])]


def _stacks_text(_: Column, values: Values) -> list[str]:
    return [";".join(_addresses(value)) for value in values]


def _stacks_json(_: Column, values: Values) -> list[str]:
    return [standard_json.dumps(_addresses(v), separators=(",", ":")) for v in values]


def _plain(values: Values) -> list[Any]:
    return values if isinstance(values, list) else values.tolist()  # type: ignore[union-attr]


def _numbers(_: Column, values: Values) -> list[str]:
    return [str(value) for value in _plain(values)]


def _floats_json(_: Column, values: Values) -> list[str]:
    return [repr(value) if math.isfinite(value) else "null" for value in _plain(values)]


def _bools(_: Column, values: Values) -> list[str]:
    return ["true" if value else "false" for value in _plain(values)]


def _enum_text(column: Column, values: Values) -> list[str]:
    known = column.values
    return [known.get(value) or str(value) for value in _plain(values)]


def _enum_flags_text(column: Column, values: Values) -> list[str]:
    known = flags_of(column)
    return [names.flags_named(known, value) for value in _plain(values)]


def _enum_flags_json(column: Column, values: Values) -> list[str]:
    return [quoted(text) for text in _enum_flags_text(column, values)]


def flags_of(column: Column) -> Mapping[int, str]:
    """Return an enum's flags by their bits, those of several bits first."""
    known = {value: name for value, name in column.values.items() if value}
    return {bits: known[bits] for bits in sorted(known, key=int.bit_count, reverse=True)}


def _enum_json(column: Column, values: Values) -> list[str]:
    known = {value: quoted(name) for value, name in column.values.items()}
    return [known.get(value) or f'"{value}"' for value in _plain(values)]


def _lists(_: Column, values: Values) -> list[str]:
    return [standard_json.dumps(value, separators=(",", ":")) for value in _plain(values)]


def _hex_text(_: Column, values: Values) -> list[str]:
    return [value.hex() for value in _plain(values)]


def _hex_json(_: Column, values: Values) -> list[str]:
    return [f'"{value.hex()}"' for value in _plain(values)]


def _slots(_: Column, values: Values) -> list[str]:
    return [_slot_list(value) for value in _plain(values)]


def _slot_list(slots: list[int]) -> str:
    """Return slots as a list that ends with the last one that is not 0."""
    used = next((count for count in range(len(slots), 0, -1) if slots[count - 1]), 0)
    return f"[{','.join(map(str, slots[:used]))}]"


def _named(name: Callable[[Any], str]) -> Renderer:
    """Render values by name; each value that occurs is looked up once a column."""

    def as_text(_: Column, values: Values) -> list[str]:
        numbers = _plain(values)
        known = {number: name(number) for number in set(numbers)}
        return [known[number] for number in numbers]

    def as_json(_: Column, values: Values) -> list[str]:
        numbers = _plain(values)
        known = {number: quoted(name(number)) for number in set(numbers)}
        return [known[number] for number in numbers]

    return Renderer(as_text, as_json)


def _in_table(known: Mapping[int, str]) -> Renderer:
    return _named(lambda number: known.get(number, str(number)))


def _file_type(mode: int) -> str:
    number = (mode & names.FILE_TYPE_MASK) >> names.FILE_TYPE_SHIFT
    return names.FILE_TYPES.get(number, str(number))


def _device(number: int) -> str:
    return f"{number >> 20}:{number & 0xFFFFF}"


def _key(number: int) -> str:
    return f"0x{number:08x}"


def _ipv4(number: int) -> str:
    return socket.inet_ntop(socket.AF_INET, number.to_bytes(4, sys.byteorder))


def _ipv6(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6, address)


def ip(address: bytes) -> str:
    """Return an address as rows show it: of IPv4 where its 16 bytes stand for such a one."""
    if address.startswith(MAPPED):
        return socket.inet_ntop(socket.AF_INET, address.removeprefix(MAPPED))
    return _ipv6(address)


def _percents_json(_: Column, values: Values) -> list[str]:
    return [f"{value // 100}.{value % 100:02}" for value in _plain(values)]


def _percents_text(column: Column, values: Values) -> list[str]:
    return [f"{value}%" for value in _percents_json(column, values)]


def _octal(mode: int) -> str:
    return f"{mode:04o}"


def _durations(_: Column, values: Values) -> list[str]:
    return [duration(value) for value in _plain(values)]


def duration(nanoseconds: int) -> str:
    """Return a length of time in the unit that gives it one to three digits before the point."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3f}{unit}"
    return f"{nanoseconds}ns"


def _boot_times(_: Column, values: Values) -> list[str]:
    return [f"{value // 10**9}.{value % 10**9:09}" for value in _plain(values)]


_STRINGS = Renderer(_strings_text, _strings_json)
_NUMBERS = Renderer(_numbers, _numbers)
_BY_MEANING: Mapping[str, Renderer] = {
    "string_t": _STRINGS,
    "path_t": _STRINGS,
    "args_t": Renderer(_args_text, _args_json),
    "stack_t": Renderer(_stacks_text, _stacks_json),
    "errno_t": _in_table(names.ERRORS),
    "signal_t": _in_table(names.SIGNALS),
    "syscall_t": _in_table(names.SYSCALLS),
    "capability_t": _in_table(names.CAPABILITIES),
    "file_type_t": _named(_file_type),
    "open_flags_t": _named(names.open_flags),
    "file_mode_t": _named(_octal),
    "device_t": _named(_device),
    "ipc_key_t": _named(_key),
    "ipv4_t": _named(_ipv4),
    "ipv6_t": _named(_ipv6),
    "ip_t": _named(ip),
    "percent_t": Renderer(_percents_text, _percents_json),
    "duration_t": Renderer(_durations, _numbers),
    "boot_ns_t": Renderer(_boot_times, _numbers),
    SLOTS: Renderer(_slots, _slots),
}
_C_TYPES: Mapping[str, tuple[str, int]] = {
    **dict.fromkeys(REFERENCES, ("uint", 4)),
    **dict.fromkeys(("open_flags_t", "file_mode_t", "device_t", "percent_t"), ("uint", 0)),
    **dict.fromkeys(("boot_ns_t", "duration_t"), ("uint", 8)),
    **dict.fromkeys(("ipv4_t", "ipc_key_t"), ("uint", 4)),
    "ipv6_t": ("bytes", 16),
    "ip_t": ("bytes", 16),
    SLOTS: ("list", 0),
}
"""What typedefs are of that are no numbers of any size: kind, size in bytes or 0."""
_BY_KIND: Mapping[str, Renderer] = {
    "int": _NUMBERS,
    "uint": _NUMBERS,
    "bool": Renderer(_bools, _bools),
    "float": Renderer(_numbers, _floats_json),
    "enum": Renderer(_enum_text, _enum_json),
    "flags": Renderer(_enum_flags_text, _enum_flags_json),
    "chars": _STRINGS,
    "bytes": Renderer(_hex_text, _hex_json),
    "list": Renderer(_lists, _lists),
}


def _renderer(column: Column) -> Renderer:
    return _BY_MEANING[column.meaning] if has_meaning(column) else _BY_KIND[column.kind]
