# SPDX-License-Identifier: Apache-2.0
"""How label selectors select: the meaning of k8s.io/apimachinery's pkg/labels.

Plain Python, for agents: a selector that reached one has been checked by the API server and the
operator (`eunomia_api.selector`), and memory counts on every node.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Operator(StrEnum):
    """How a key relates to the values of a requirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


def meets(labels: Mapping[str, str], key: str, operator: str, values: Collection[str]) -> bool:
    """Tell whether labels meet one condition. None do if the operator is not known here.

    NotIn and DoesNotExist hold where there is no key.
    """
    match operator:
        case Operator.IN:
            return labels.get(key) in values
        case Operator.NOT_IN:
            return labels.get(key) not in values
        case Operator.EXISTS:
            return key in labels
        case Operator.DOES_NOT_EXIST:
            return key not in labels
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    values: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects objects by their labels. All parts must hold; without any, all are selected."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    requirements: Sequence[Requirement] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.labels.items()) and all(
            meets(labels, each.key, each.operator, each.values) for each in self.requirements
        )
