# SPDX-License-Identifier: Apache-2.0
"""The least securityContext out of what containers asked for."""

from typing import Any

import pytest

from eunomia_api.agent_pb2 import CapabilityCount, Learned
from eunomia_api.capabilities import DEFAULT, Difference, difference, held, recommend, refused

EVERY = DEFAULT | {"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}


def learned(**counts: tuple[int, int]) -> Learned:
    return Learned(
        capabilities=[
            CapabilityCount(name=f"CAP_{name}", granted=granted, denied=denied)
            for name, (granted, denied) in counts.items()
        ]
    )


REPORTS = [
    learned(NET_BIND_SERVICE=(3, 0), SYS_ADMIN=(0, 9), SETUID=(0, 1)),
    learned(SETUID=(2, 0), SYS_PTRACE=(0, 1)),
]


def test_what_was_granted_anywhere_is_needed_and_the_rest_dropped() -> None:
    found = recommend(REPORTS)

    assert found.used == ("CAP_NET_BIND_SERVICE", "CAP_SETUID")
    assert found.denied == ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")
    assert found.patch("web") == {
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "web",
                            "securityContext": {
                                "capabilities": {
                                    "drop": ["ALL"],
                                    "add": ["NET_BIND_SERVICE", "SETUID"],
                                }
                            },
                        }
                    ]
                }
            }
        }
    }


def test_who_needs_nothing_gets_nothing() -> None:
    assert recommend([]).security_context == {"capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, DEFAULT),
        ({"privileged": True}, EVERY),
        ({"capabilities": {"drop": ["ALL"]}}, set()),
        ({"capabilities": {"drop": ["all"], "add": ["cap_kill"]}}, {"CAP_KILL"}),
        ({"capabilities": {"add": ["NET_ADMIN"]}}, DEFAULT | {"CAP_NET_ADMIN"}),
        ({"capabilities": {"add": ["ALL"], "drop": ["SYS_ADMIN"]}}, EVERY - {"CAP_SYS_ADMIN"}),
        ({"capabilities": "everything", "privileged": "yes"}, DEFAULT),
        ({"capabilities": {"add": [7, None], "drop": "ALL"}}, DEFAULT),
    ],
)
def test_what_a_container_holds_is_read_from_its_context(
    context: dict[str, Any], expected: set[str]
) -> None:
    assert held(context, EVERY) == expected


def test_the_difference_to_what_a_pod_has_is_told() -> None:
    context = {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "NET_RAW"]}}

    assert difference(context, recommend(REPORTS), EVERY) == Difference(
        dropped=("CAP_NET_RAW",), lacking=("CAP_SETUID",)
    )


def test_what_a_recommendation_would_refuse_is_told() -> None:
    assert refused(REPORTS, ["NET_BIND_SERVICE"]) == ("CAP_SETUID",)
    assert refused(REPORTS, ["SETUID", "NET_BIND_SERVICE"]) == ()
