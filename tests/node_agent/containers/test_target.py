# SPDX-License-Identifier: Apache-2.0
"""Which cgroups a job watches."""

from dataclasses import replace

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.target import Target, matches, matches_pod, may_match
from eunomia_api.labels import Selector

WEB = Owner(7, "container", "shop", "web-0", "uid", "nginx", "1b" * 32, {"app": "web"})
SANDBOX = replace(WEB, kind="sandbox", container="")
POD = replace(SANDBOX, kind="pod", container_id="")
HOST = Owner(1, "host")
PENDING = Owner(8, "pending", pod_uid="uid", container_id="1b" * 32)
UNKNOWN = replace(PENDING, kind="unknown")
ALL = (WEB, SANDBOX, POD, HOST, PENDING, UNKNOWN)

EVERY_POD = Target(all_namespaces=True, pod_selector=Selector())


@pytest.mark.parametrize(
    ("target", "watched"),
    [
        (Target(frozenset({"shop"}), pod_selector=Selector()), {WEB}),
        (Target(frozenset({"bank"}), pod_selector=Selector()), set()),
        (Target(frozenset(), pod_selector=Selector()), set()),
        (EVERY_POD, {WEB}),
        (replace(EVERY_POD, pod_selector=Selector({"app": "web"})), {WEB}),
        (replace(EVERY_POD, pod_selector=Selector({"app": "db"})), set()),
        (replace(EVERY_POD, containers=frozenset({"nginx", "php"})), {WEB}),
        (replace(EVERY_POD, containers=frozenset({"php"})), set()),
        (replace(EVERY_POD, host=True), {WEB, HOST}),
        (Target(host=True), {HOST}),
        (Target(all_namespaces=True), set()),
    ],
)
def test_job_watches_containers_and_host_as_asked(target: Target, watched: set[Owner]) -> None:
    assert {owner for owner in ALL if matches(target, owner)} == watched


def test_container_filter_does_not_hide_the_pod() -> None:
    target = replace(EVERY_POD, containers=frozenset({"php"}))
    assert {owner for owner in ALL if matches_pod(target, owner)} == {WEB, SANDBOX, POD}


def test_programs_are_attached_for_what_matches_or_may() -> None:
    assert {owner for owner in ALL if may_match(EVERY_POD, owner)} == {WEB, SANDBOX, POD, PENDING}
    assert {owner for owner in ALL if may_match(Target(host=True), owner)} == {HOST}


def test_pod_that_is_not_told_of_matches_nothing() -> None:
    assert not matches_pod(EVERY_POD, Owner(9, "pod", pod_uid="uid"))
