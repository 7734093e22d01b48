# SPDX-License-Identifier: Apache-2.0
"""The two kinds of model that the resources are made of.

What a user writes is strict: an unknown field is an error. What a program wrote is tolerant, so
that an operator one release older or newer can read it.
"""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _of_some_zone(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return text


Int64 = Annotated[int, Field(ge=0, le=2**63 - 1, json_schema_extra={"format": "int64"})]
Int32 = Annotated[int, Field(ge=0, le=2**31 - 1, json_schema_extra={"format": "int32"})]
Time = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}), AfterValidator(_of_some_zone)
]
"""RFC 3339, seconds, UTC: the API's own `metav1.Time`."""


def _absent_is_empty(value: object) -> object:
    return {} if value is None else value


class Written(BaseModel):
    """A part that a user writes: camelCase outside, unknown fields refused, never changed."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Told(BaseModel):
    """A part that the operator writes: camelCase outside, unknown fields passed over."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


AbsentIsEmpty = BeforeValidator(_absent_is_empty)
"""An object of the API that has no `status` yet reads as one with an empty `status`."""
