# SPDX-License-Identifier: Apache-2.0
"""The C variable of a param."""

from eunomia_api.tracker import Param


def variable_name(name: str, param: Param) -> str:
    """Return the C variable of a param: its own, or the param's name in snake_case."""
    return param.variable or "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
