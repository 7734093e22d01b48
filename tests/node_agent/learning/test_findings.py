# SPDX-License-Identifier: Apache-2.0
"""What is found out about containers beside what is expected of them, each thing once."""

from typing import Any

import pytest

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.owner import Owner
from eunomia_agent.finding import Finding
from eunomia_agent.learning import calls
from eunomia_agent.learning.audit import Audit
from eunomia_agent.learning.seen import (
    NOTHING,
    Asked,
    Caller,
    CallerKey,
    Of,
    RefusalKey,
    Refused,
    Seen,
)
from eunomia_api import agent_pb2

NUMBER = {name: number for number, name in calls.OWN.items()}
MOUNT, ACCT = NUMBER["mount"], NUMBER["acct"]
SYS_ADMIN, SYS_BOOT, CHOWN, KILL = 21, 22, 0, 5
PATH = "eunomia/shop/guard-web.json"
EXPECTED = agent_pb2.Learning(
    audited=[agent_pb2.AuditedProfile(container="web", syscalls=["acct"])],
    profiles=[agent_pb2.WornProfile(container="web", path=PATH)],
    audited_capabilities=[
        agent_pb2.AuditedCapabilities(container="web", used=["CAP_CHOWN"], denied=["CAP_KILL"])
    ],
)
SHELL = Caller(7, 42, 33, "sh", "/bin/sh", ((40, "nginx"), (1, "tini")))


def owner(container: str = "web") -> Owner:
    return Owner(1, "container", "shop", "web-0", "uid", container, "ab" * 32)


def seen(**fields: Any) -> Seen:
    return Seen(True, True, 0, 0, NOTHING, NOTHING, NOTHING, **fields)


def refused(number: int, *, enforced: bool, compat: bool = False) -> Seen:
    key = RefusalKey(number, compat, enforced)
    caller = CallerKey(Of(int(enforced)), number, compat)
    return seen(refusals={key: Refused(3, "old")}, callers={caller: SHELL})


def found(
    seen: Seen, told: frozenset[str] = frozenset(), container: str = "web", *, wears: bool = True
) -> list[Finding]:
    return list(Audit(EXPECTED).of_deeds(owner(container), seen, told, wears=wears))


def test_a_call_that_a_worn_profile_refused_is_told_with_who_made_it() -> None:
    assert found(refused(MOUNT, enforced=True)) == [
        Finding(
            rule="call-refused",
            key="mount",
            owner=owner(),
            at=7,
            message="{comm} ({pid}) called {call}, which its seccomp profile refused",
            row={
                "call": "mount",
                "comm": "sh",
                "pid": 42,
                "uid": 33,
                "exe": "/bin/sh",
                "ancestors": ["nginx", "tini"],
                "ancestor_pids": [40, 1],
            },
            count=3,
            response="Refused",
            dry_run=False,
        )
    ]
    assert found(refused(MOUNT, enforced=True), told=frozenset({"call-refused mount"})) == []


def test_a_call_that_would_be_refused_is_a_dry_run_and_another_thing() -> None:
    told = frozenset({"call-refused mount"})
    (one,) = found(refused(MOUNT, enforced=False), told, wears=False)
    assert (one.key, one.dry_run, one.response) == ("mount dry", True, "")
    assert "would refuse" in one.message
    (one,) = found(refused(33, enforced=False, compat=True))
    assert one.row["call"] == "access (32-bit)"


def test_what_is_allowed_or_anothers_profile_refuses_is_no_finding() -> None:
    assert found(refused(ACCT, enforced=True)) == []
    assert found(refused(MOUNT, enforced=True), wears=False) == []
    assert found(refused(MOUNT, enforced=True), container="other") == []


@pytest.mark.parametrize("container", ["", "web"])
def test_beside_a_profile_for_no_name_what_another_refuses_is_told_with_who_made_it(
    container: str,
) -> None:
    audit = Audit(agent_pb2.Learning(audited=[agent_pb2.AuditedProfile(syscalls=["acct"])]))
    (one,) = audit.of_deeds(owner(container), refused(MOUNT, enforced=True), (), wears=False)
    assert (one.key, one.dry_run, one.row["pid"], one.row["exe"]) == ("mount", False, 42, "/bin/sh")
    assert not list(audit.of_deeds(owner(container), refused(ACCT, enforced=True), (), wears=False))


def test_a_caller_for_whom_was_no_room_is_told_by_name() -> None:
    (one,) = found(seen(refusals={RefusalKey(MOUNT, False, True): Refused(1, "sh")}))
    assert one.row == {"call": "mount", "comm": "sh"}
    assert one.message.startswith("{comm} called")


def test_capabilities_beside_those_that_are_expected_are_told_by_what_became_of_them() -> None:
    asked = {
        CHOWN: Asked(5, 9, MOUNT, "sh"),  # a worker that has given it up is denied it
        KILL: Asked(0, 2, MOUNT, "sh"),  # as ever
        SYS_ADMIN: Asked(4, 1, MOUNT, "sh"),
        SYS_BOOT: Asked(0, 6, -1, "sh"),
    }
    callers = {CallerKey(Of.WAS_DENIED, SYS_BOOT): SHELL}
    told = [
        (each.rule, each.key, each.row["call"], each.count, each.response, each.dry_run)
        for each in found(seen(asked=asked, callers=callers))
    ]
    assert told == [
        ("capability-refused", "CAP_SYS_ADMIN dry", "mount", 4, "", True),
        ("capability-refused", "CAP_SYS_ADMIN", "mount", 1, "Refused", False),
        ("capability-refused", "CAP_SYS_BOOT", "", 6, "Refused", False),
    ]
    assert found(seen(asked=asked), container="other") == []


@pytest.mark.parametrize(
    ("worn", "container", "rules"),
    [
        ("", "web", ["profile-missing"]),
        (PATH, "web", []),
        ("eunomia/shop/another.json", "web", []),
        ("", "sidecar", []),  # for which there is no profile yet
    ],
)
def test_a_container_that_starts_without_the_profile_that_new_pods_get_is_told(
    worn: str, container: str, rules: list[str]
) -> None:
    starts = Audit(EXPECTED).of_start(owner(container), Confinement(worn), ())
    assert [each.rule for each in starts] == rules
