# SPDX-License-Identifier: Apache-2.0
"""The C variable of a param."""


def variable_name(name: str, variable: str | None) -> str:
    """Return the C variable of a param: the one given, or the param's name in snake_case."""
    return variable or "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
