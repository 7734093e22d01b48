# SPDX-License-Identifier: Apache-2.0
"""Whether a job can be run as it is written. Pure."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from eunomia_api import sample
from eunomia_api.tracejob import ClusterTraceJobSpec, TraceJobSpec
from eunomia_api.tracker import Catalogue, CatalogueTracker
from eunomia_api.where import WhereInvalid, parse

MOST_ERRORS = 3
MOST_CHARACTERS = 1024

Spec = TraceJobSpec | ClusterTraceJobSpec
KINDS: dict[str, type[TraceJobSpec] | type[ClusterTraceJobSpec]] = {
    "TraceJob": TraceJobSpec,
    "ClusterTraceJob": ClusterTraceJobSpec,
}
_SELECTORS = {"podSelector", "namespaceSelector", "nodeSelector"}


class NotAccepted(Exception):
    """A job cannot be run as it is written; it is judged anew when it is edited."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        """One CamelCase word."""
        self.message = message
        """The field, what is wrong with it and what is allowed."""


def accept(kind: str, spec: object, catalogue: Catalogue) -> Spec:
    """Return the parsed `spec` of a job.

    Raises NotAccepted naming the field (spec.trackers[0].params.maxArgs), what is wrong with it
    and what is allowed.
    """
    try:
        accepted = KINDS[kind].model_validate(spec)
    except ValidationError as invalid:
        raise refusal(invalid) from None
    for index, use in enumerate(accepted.trackers):
        path = f"spec.trackers[{index}]"
        tracker = next((each for each in catalogue.trackers if each.name == use.name), None)
        if tracker is None:
            known = ", ".join(sorted(each.name for each in catalogue.trackers))
            wrong = f'there is no tracker "{use.name}"; there are: {known}'
            raise NotAccepted("InvalidTracker", bounded(f"{path}.name: {wrong}"))
        _check_params(f"{path}.params", use.params, tracker)
        _check_where(f"{path}.where", use.where, tracker)
        _check_sample(f"{path}.sample", use.sample, tracker)
    return accepted


def _check_params(path: str, params: dict[str, Any], tracker: CatalogueTracker) -> None:
    for name, value in params.items():
        param = tracker.params.get(name)
        if param is None:
            known = ", ".join(sorted(tracker.params)) or "none"
            wrong = f'tracker "{tracker.name}" has no such param; it has: {known}'
            raise NotAccepted("InvalidParam", bounded(f"{path}.{name[:80]}: {wrong}"))
        try:
            param.check(value)
        except ValueError as invalid:
            raise NotAccepted("InvalidParam", bounded(f"{path}.{name}: {invalid}")) from None


def _check_where(path: str, text: str, tracker: CatalogueTracker) -> None:
    if not text:
        return
    try:
        parse(text, tracker.rows, tracker.hidden)
    except WhereInvalid as invalid:
        raise NotAccepted("InvalidWhere", bounded(f"{path}: {invalid}")) from None


def _check_sample(path: str, number: int, tracker: CatalogueTracker) -> None:
    try:
        sample.check(tracker.name, tracker.sources, number)
    except ValueError as invalid:
        raise NotAccepted("InvalidSample", bounded(f"{path}: {invalid}")) from None


def refusal(invalid: ValidationError) -> NotAccepted:
    """Return why a spec that is none of its model is refused: the fields and what is allowed."""
    errors: Sequence[ErrorDetails] = invalid.errors(include_url=False, include_context=False)
    told: dict[str, str] = {}
    for error in errors:
        told.setdefault(_path(error["loc"]), _meaning(error))
    lines = [f"{path}: {meaning}" for path, meaning in list(told.items())[:MOST_ERRORS]]
    if len(told) > MOST_ERRORS:
        lines.append(f"and {len(told) - MOST_ERRORS} more")
    return NotAccepted(_reason(errors[0]["loc"]), bounded("; ".join(lines)))


def _reason(location: tuple[int | str, ...]) -> str:
    if _SELECTORS & set(location):
        return "InvalidSelector"
    if "params" in location:
        return "InvalidParam"
    if "where" in location:
        return "InvalidWhere"
    if location[:1] == ("trackers",):
        return "InvalidTracker"
    if location[:1] == ("rules",):
        return "InvalidRule"
    return "InvalidSpec"


def _path(location: tuple[int | str, ...]) -> str:
    path = "spec"
    for part in _without_types(location):
        path += f"[{part}]" if isinstance(part, int) else f".{part[:80]}"
    return path


def _without_types(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Cut what pydantic adds behind the name of a param: the types that it tried."""
    if "params" in location:
        return location[: location.index("params") + 2]
    return location


def _meaning(error: ErrorDetails) -> str:
    if "params" in error["loc"] and error["type"] != "too_long":
        return "must be a boolean, a whole number or a string"
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    if error["type"] == "missing":
        return "is required"
    return error["msg"].removeprefix("Value error, ")


def bounded(message: str) -> str:
    """Return a message, shortened where it is too long for a condition."""
    return message if len(message) <= MOST_CHARACTERS else f"{message[: MOST_CHARACTERS - 1]}…"
