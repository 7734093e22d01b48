# SPDX-License-Identifier: Apache-2.0
"""The least securityContext out of what containers asked for."""

from eunomia_api.agent_pb2 import CapabilityCount, Given, Learned
from eunomia_api.capabilities import recommend


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
    assert found.patch("web", "containers") == {
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


def test_what_a_container_has_and_does_not_use_is_dropped() -> None:
    has = Given(capabilities=["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_CHOWN"])
    found = recommend([*REPORTS, Learned(given=has)])

    assert found.bounding == ("CAP_CHOWN", "CAP_SETUID", "CAP_SYS_ADMIN")
    assert found.drop == ("CHOWN", "SYS_ADMIN")
    assert recommend(REPORTS).drop is None, "nobody told what it has"
    assert recommend([Learned(given=Given())]).drop == (), "it has none"


def test_a_privileged_container_keeps_all_unless_it_is_so_no_more() -> None:
    found = recommend([learned(KILL=(1, 0)), Learned(given=Given(privileged=True))])

    assert found.security_context == {
        "privileged": False,
        "capabilities": {"drop": ["ALL"], "add": ["KILL"]},
    }


def test_who_needs_nothing_gets_nothing() -> None:
    assert recommend([]).security_context == {"capabilities": {"drop": ["ALL"]}}


def test_what_has_no_name_is_told_and_never_asked_for() -> None:
    told = CapabilityCount(name="#63", granted=1), CapabilityCount(name="CAP_KILL", granted=1)
    found = recommend([Learned(capabilities=told)])

    assert (found.used, found.add) == (("#63", "CAP_KILL"), ("KILL",))
