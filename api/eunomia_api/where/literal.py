# SPDX-License-Identifier: Apache-2.0
"""Values as they are written, after "Values and escapes" in the CEL specification."""

import math
import re
import sys
from decimal import Decimal

INT_LEAST, INT_MOST = -(2**63), 2**63 - 1
UINT_MOST = 2**64 - 1

_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([abfnrtv\\?\"'`])|)"
)
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS["h"] = 60 * _UNITS["m"]
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?(?:{_PART.pattern})+|0")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def integer(written: str) -> int:
    """Return the value of an int or uint. Raises ValueError when it is out of bounds."""
    unsigned = written[-1] in "uU"
    digits = written.rstrip("uU")
    value = int(digits, 16 if digits[:2] == "0x" else 10)
    if unsigned and value > UINT_MOST:
        raise ValueError("a uint is at most 18446744073709551615")
    if not unsigned and value > INT_MOST + 1:
        raise ValueError("an int is at most 9223372036854775807")
    return value


def double(written: str) -> float:
    """Return the value of a double. Raises ValueError when it is out of bounds."""
    value = float(written)
    if math.isinf(value):
        raise ValueError(f"a double is at most {sys.float_info.max}")
    return value


def text(written: str) -> str:
    """Return the value of a text in quotes. Raises ValueError about a bad escape."""
    raw = written[0] in "rR"
    quoted = written[1:] if raw else written
    width = 3 if quoted[:3] in ('"""', "'''") else 1
    inner = quoted[width:-width]
    return inner if raw else _ESCAPE.sub(_unescaped, inner)


def _unescaped(found: re.Match[str]) -> str:
    *hexadecimal, octal, plain = found.groups()
    if plain:
        return _PLAIN.get(plain, plain)
    digits = next(filter(None, hexadecimal), None)
    code = int(digits, 16) if digits else int(octal, 8) if octal else None
    if code is None:
        after = found.string[found.end() : found.end() + 1]
        raise ValueError(rf'there is no escape \{after}; for a backslash write \\, or r"…"')
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError(f"{found.group()} is no character")
    return chr(code)


def nanoseconds(written: str) -> int:
    """Return the nanoseconds of a Go duration (https://pkg.go.dev/time#ParseDuration).

    Raises ValueError. What is shorter than a nanosecond is cut off, as Go does.
    """
    if not _DURATION.fullmatch(written):
        raise ValueError(f"{written!r} is not a duration; write it like 100us, 5ms or 1m30s")
    total = sum(Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(written))
    if total > INT_MOST:
        raise ValueError(f"{written!r} is too long")
    return int(-total if written.startswith("-") else total)
