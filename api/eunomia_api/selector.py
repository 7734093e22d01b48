# SPDX-License-Identifier: Apache-2.0
"""Label selectors: the API's own `metav1.LabelSelector`, with bounds.

Its meaning is that of k8s.io/apimachinery's pkg/labels: all parts must hold, an empty selector
selects everything, and `NotIn` and `DoesNotExist` also hold where the key is absent. The syntax of
keys and values is that of "Labels and Selectors" in the Kubernetes documentation.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from eunomia_api.labels import Operator, meets
from eunomia_api.model import Written

MAX_LABELS = 64
MAX_EXPRESSIONS = 32
MAX_VALUES = 64

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_PREFIX = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and _PREFIX.fullmatch(prefix)):
        raise ValueError(
            f"{_shown(key)} is no label key: the part before the slash must be a DNS name "
            "in lower case of at most 253 characters"
        )
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{_shown(key)} is no label key: the name must be 1 to 63 letters, digits, '-', '_' "
            "or '.', with a letter or digit at both ends"
        )
    return key


def _label_value(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        raise ValueError(
            f"{_shown(value)} is no label value: it must be empty, or at most 63 letters, digits, "
            "'-', '_' or '.', with a letter or digit at both ends"
        )
    return value


LabelKey = Annotated[str, Field(max_length=317), AfterValidator(_label_key)]
LabelValue = Annotated[str, Field(max_length=63), AfterValidator(_label_value)]


class LabelSelectorRequirement(Written):
    """One condition on one label."""

    key: LabelKey
    """The label that the condition is on."""
    operator: Operator
    """In and NotIn compare with values; Exists and DoesNotExist take none."""
    values: Annotated[list[LabelValue], Field(max_length=MAX_VALUES)] = []
    """Values to compare with, for In and NotIn."""

    @model_validator(mode="after")
    def _values_fit_operator(self) -> Self:
        compares = self.operator in (Operator.IN, Operator.NOT_IN)
        if compares and not self.values:
            raise ValueError(f"{self.operator} needs at least one value, for key {self.key}")
        if not compares and self.values:
            raise ValueError(f"{self.operator} takes no values, for key {self.key}")
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels meets the condition."""
        return meets(labels, self.key, self.operator, self.values)


class LabelSelector(Written):
    """Selects objects by their labels. All parts must hold; {} selects everything."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=MAX_LABELS)] = {}
    """Labels that must be there with just these values."""
    match_expressions: Annotated[
        list[LabelSelectorRequirement], Field(max_length=MAX_EXPRESSIONS)
    ] = []
    """Conditions that must hold beside matchLabels."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
