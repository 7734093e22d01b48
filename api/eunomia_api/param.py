# SPDX-License-Identifier: Apache-2.0
"""What values a tracker's params take: checked by the operator, and by each agent again."""

from collections.abc import Mapping
from typing import Literal, Protocol

ParamValue = bool | int | str
TYPES = {"bool": bool, "int": int, "string": str}


class Bounded(Protocol):
    """A param: its type and bounds."""

    @property
    def type(self) -> Literal["bool", "int", "string"]:
        """What values it takes."""
        ...

    @property
    def default(self) -> ParamValue:
        """The value when a job gives none."""
        ...

    @property
    def min(self) -> int | None:
        """The least integer."""
        ...

    @property
    def max(self) -> int | None:
        """The greatest integer."""
        ...

    @property
    def max_length(self) -> int | None:
        """The most bytes of a string in UTF-8."""
        ...


def check(param: Bounded, value: object) -> ParamValue:
    """Return a value that the param takes. Raises ValueError that says what is allowed."""
    if not isinstance(value, bool | int | str) or type(value) is not TYPES[param.type]:
        raise ValueError(f"must be {allowed(param)}, not {shown(value)}")
    if isinstance(value, str):
        _check_text(value, param.max_length or 0)
    elif param.type == "int" and not (param.min or 0) <= value <= (param.max or 0):
        raise ValueError(f"must be {allowed(param)}, not {value}")
    return value


def check_all(
    tracker: str, params: Mapping[str, Bounded], values: Mapping[str, object]
) -> dict[str, ParamValue]:
    """Return the values of all of a tracker's params, defaults included.

    Raises ValueError that names the param and says what is allowed.
    """
    for name in values:
        if name not in params:
            known = ", ".join(params) or "none"
            raise ValueError(f"{shown(name)} is no param of {tracker}; there are: {known}")
    return {
        name: _checked(name, param, values[name]) if name in values else param.default
        for name, param in params.items()
    }


def _checked(name: str, param: Bounded, value: object) -> ParamValue:
    try:
        return check(param, value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def allowed(param: Bounded) -> str:
    """Return what values a param takes, in words."""
    match param.type:
        case "bool":
            return "true or false"
        case "int":
            return f"a whole number from {param.min or 0} to {param.max or 0}"
        case "string":
            return f"a string of at most {param.max_length} bytes"


def shown(value: object) -> str:
    """Return a value as a message shows it, in at most 41 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _check_text(value: str, max_length: int) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can hold") from None
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    if size > max_length:
        raise ValueError(f"must be a string of at most {max_length} bytes, not {size}")
