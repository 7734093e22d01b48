# SPDX-License-Identifier: Apache-2.0
"""Conditions of a job or policy, kept as the API conventions have it. Pure."""

from collections.abc import Iterable, Sequence
from typing import Literal

from eunomia_api.status import Condition
from eunomia_operator import clock

ACCEPTED = "Accepted"
RUNNING = "Running"
COMPLETE = "Complete"
FAILED = "Failed"
DEGRADED = "Degraded"
READY = "Ready"
RULES_VALID = "RulesValid"
CONVERGED = "Converged"
PROFILE_READY = "ProfileReady"

NOT_ACCEPTED = "NotAccepted"
"""Reason while an object is refused; of Failed, the one failure that an edit can mend."""

Status = Literal["True", "False", "Unknown"]


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """Return the condition of a type."""
    return next((each for each in conditions if each.type == type_), None)


def holds(conditions: Iterable[Condition], type_: str) -> bool:
    """Tell whether a condition is there and True."""
    found = find(conditions, type_)
    return found is not None and found.status == "True"


class Conditions:
    """The conditions of one object while they are decided on."""

    def __init__(self, before: Sequence[Condition], generation: int, now: float) -> None:
        self._conditions = {each.type: each for each in before}
        self._generation = generation
        self._now = clock.written(now)

    def put(self, type_: str, status: bool, reason: str, message: str = "") -> None:
        """Set a condition; the time of transition moves only when its status does."""
        text: Status = "True" if status else "False"
        before = self._conditions.get(type_)
        same = before is not None and before.status == text
        self._conditions[type_] = Condition(
            type=type_,
            status=text,
            observed_generation=self._generation,
            last_transition_time=before.last_transition_time if before and same else self._now,
            reason=reason,
            message=message,
        )

    def __contains__(self, type_: str) -> bool:
        return type_ in self._conditions

    def listed(self) -> list[Condition]:
        """Return them in the order in which they were first set."""
        return list(self._conditions.values())
