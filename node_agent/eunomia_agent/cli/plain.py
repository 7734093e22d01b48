# SPDX-License-Identifier: Apache-2.0
"""Values of options that are plainly right, so that nobody has to judge them.

Typer judges each value with pydantic, a default as well, and loads it for that: it takes as long
as to load a tracker. What is not plain here is still judged there, and refused in its words.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin


def spare(parameters: Iterable[Any]) -> None:
    """Have options take what is plain as it is. Nor are callbacks called for a default."""
    for parameter in parameters:
        if not parameter.required and "process_value" not in vars(parameter):
            parameter.process_value = _sparing(parameter)


def _sparing(parameter: Any) -> Callable[[Any, Any], Any]:
    judge, default = parameter.process_value, parameter.default

    def process_value(context: Any, value: Any) -> Any:
        if value is None or (value == default and type(value) is type(default)):
            return value
        try:
            return _plain(parameter, value)
        except ValueError:
            return judge(context, value)

    return process_value


def _plain(parameter: Any, value: Any) -> Any:
    """Return a value from a command line in its type. Raises ValueError where it is not plain."""
    told = getattr(parameter, "type_descriptor", None)
    kind = getattr(told, "annotation", None)
    if parameter.callback is None and told is not None:
        if get_origin(kind) is Literal and value in get_args(kind):
            return value
        if kind == list[Path] and all(isinstance(each, str) for each in value):
            return [Path(each) for each in value]
        if kind == list[str] and all(isinstance(each, str) for each in value):
            return list(value)
        if isinstance(value, str) and kind in (str, int, float):
            return _in_bounds(kind(value), told.parameter_info)
    raise ValueError


def _in_bounds(value: Any, bounds: Any) -> Any:
    if bounds.min is not None and value < bounds.min:
        raise ValueError
    if bounds.max is not None and value > bounds.max:
        raise ValueError
    return value
