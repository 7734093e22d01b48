# SPDX-License-Identifier: Apache-2.0
"""What a token has to be; the streams that show one are in test_dispatch."""

import base64
import json

import pytest

from eunomia_operator.agents.access import LONGEST_TOKEN, bearer, expiry
from eunomia_operator.errors import Unauthenticated


def token(payload: object) -> str:
    return "h." + base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().strip("=") + ".s"


def test_the_token_tells_when_it_ends() -> None:
    assert expiry(token({"exp": 1767225600})) == 1767225600.0


@pytest.mark.parametrize(
    "odd", ["", "a.b", "a.!!.c", token({}), token([]), token({"exp": "soon"}), token({"exp": None})]
)
def test_a_token_without_an_end_is_refused(odd: str) -> None:
    with pytest.raises(Unauthenticated, match="does not tell when it ends"):
        expiry(odd)


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic abc", "Bearer " + "x" * (LONGEST_TOKEN + 1)]
)
def test_nothing_but_a_bearer_token_of_a_sane_length_is_even_reviewed(value: str) -> None:
    with pytest.raises(Unauthenticated, match="authorization: Bearer TOKEN"):
        bearer([("x", "y"), ("authorization", value)])
    assert bearer([("authorization", "bearer abc")]) == "abc"
