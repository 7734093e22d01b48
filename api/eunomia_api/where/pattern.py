# SPDX-License-Identifier: Apache-2.0
"""Regular expressions of RE2 (github.com/google/re2/wiki/Syntax), which cannot be made slow."""

from typing import Protocol, cast

MAX_BYTES = 1 << 20
"""Memory for one compiled pattern."""


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: bytes) -> object | None:
        """Return something where the pattern occurs in UTF-8 text, None where it does not."""
        ...


def compiled(written: str) -> Pattern:
    """Return a pattern. Raises ValueError saying what is wrong with it."""
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.max_mem = MAX_BYTES
    options.log_errors = False
    options.never_capture = True
    try:
        return cast(Pattern, re2.compile(written.encode(), options))
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"the pattern is not one of RE2: {reason}") from None
