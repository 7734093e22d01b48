# SPDX-License-Identifier: Apache-2.0
"""Which cgroups a job watches."""

from dataclasses import replace

import pytest

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.target import Target, matches, matches_pod, may_match
from eunomia_api.labels import Selector

FOLDER = "/kubepods/poduid"
WEB = Owner(
    7,
    "container",
    "shop",
    "web-0",
    "uid",
    "nginx",
    "1b" * 32,
    {"app": "web"},
    path=f"{FOLDER}/{'1b' * 32}",
)
SANDBOX = replace(WEB, kind="sandbox", container="", container_id="0a" * 32)
POD = replace(SANDBOX, kind="pod", container_id="", path=FOLDER)
HOST = Owner(1, "host", path="/system.slice/ssh.service")
PENDING = Owner(8, "pending", pod_uid="uid", container_id="1b" * 32, path=f"{FOLDER}/{'1b' * 32}")
UNKNOWN = replace(PENDING, kind="unknown")
DOCKER = Owner(
    9, "container", container="nginx", container_id="4e" * 32, path=f"/docker/{'4e' * 32}"
)
UNSEEN = Owner(10, "unknown", reason="no record told of it")
ALL = (WEB, SANDBOX, POD, HOST, PENDING, UNKNOWN, DOCKER, UNSEEN)

EVERY_POD = Target(all_namespaces=True, pod_selector=Selector())
EVERY_CONTAINER = replace(EVERY_POD, namespaces=frozenset({""}))


def named(target: Target, *names: str) -> Target:
    return replace(target, containers=frozenset(names))


def with_id(target: Target, *prefixes: str) -> Target:
    return replace(target, container_ids=frozenset(prefixes))


def of_pod(target: Target, *names: str) -> Target:
    return replace(target, pod_names=frozenset(names))


def without(target: Target, *namespaces: str) -> Target:
    return replace(target, excluded_namespaces=frozenset(namespaces))


def in_place(*paths: str) -> Target:
    return Target(cgroups=frozenset(paths))


@pytest.mark.parametrize(
    ("target", "watched"),
    [
        (Target(frozenset({"shop"}), pod_selector=Selector()), {WEB}),
        (Target(frozenset({"bank"}), pod_selector=Selector()), set()),
        (Target(frozenset(), pod_selector=Selector()), set()),
        (EVERY_POD, {WEB}),
        (replace(EVERY_POD, pod_selector=Selector({"app": "web"})), {WEB}),
        (replace(EVERY_POD, pod_selector=Selector({"app": "db"})), set()),
        (named(EVERY_POD, "nginx", "php"), {WEB}),
        (named(EVERY_POD, "php"), set()),
        (replace(EVERY_POD, host=True), {WEB, HOST}),
        (Target(host=True), {HOST}),
        (Target(all_namespaces=True), set()),
        (named(Target(host=True), "nginx"), {HOST}),
        (EVERY_CONTAINER, {WEB, DOCKER}),
        (Target(frozenset({""}), pod_selector=Selector()), {DOCKER}),
        (named(EVERY_CONTAINER, "nginx"), {WEB, DOCKER}),
        (with_id(EVERY_CONTAINER, "4e4e"), {DOCKER}),
        (with_id(EVERY_POD, "4e4e"), set()),
        (with_id(EVERY_CONTAINER, "1b1b", "4e4e4e4e"), {WEB, DOCKER}),
        (with_id(EVERY_CONTAINER, "", "4e4", "ffff"), set()),
        (with_id(named(EVERY_CONTAINER, "php"), "4e4e"), {DOCKER}),
        (of_pod(EVERY_POD, "web-0"), {WEB}),
        (of_pod(EVERY_POD, "shop/web-0", "web-1"), {WEB}),
        (of_pod(EVERY_POD, "bank/web-0"), set()),
        (of_pod(EVERY_CONTAINER, "web-1"), set()),
        (of_pod(Target(), "web-0"), set()),
        (in_place("/system.slice"), {HOST}),
        (in_place("/system.slice/ssh.service/"), {HOST}),
        (in_place("/system"), set()),
        (in_place("/docker", "/system.slice"), {HOST, DOCKER}),
        (in_place(FOLDER), {WEB, SANDBOX, POD, UNKNOWN}),
        (in_place("/"), set(ALL) - {PENDING, UNSEEN}),
        (Target(everything=True), set(ALL) - {PENDING}),
        (without(replace(EVERY_CONTAINER, host=True), "shop", "bank"), {HOST, DOCKER}),
        (without(Target(frozenset({"shop"}), pod_selector=Selector()), "shop"), set()),
        (without(in_place("/"), "shop"), {HOST, UNKNOWN, DOCKER}),
    ],
)
def test_job_watches_containers_and_host_as_asked(target: Target, watched: set[Owner]) -> None:
    assert {owner for owner in ALL if matches(target, owner)} == watched


def test_container_filter_does_not_hide_the_pod() -> None:
    target = named(EVERY_POD, "php")
    assert {owner for owner in ALL if matches_pod(target, owner)} == {WEB, SANDBOX, POD}


def test_pods_of_an_excluded_namespace_are_not_the_jobs() -> None:
    target = without(EVERY_POD, "shop")
    assert not any(matches_pod(target, owner) for owner in ALL)
    assert {owner for owner in ALL if may_match(target, owner)} == {PENDING}


def test_programs_are_attached_for_what_matches_or_may() -> None:
    assert {owner for owner in ALL if may_match(EVERY_POD, owner)} == {WEB, SANDBOX, POD, PENDING}
    assert {owner for owner in ALL if may_match(Target(host=True), owner)} == {HOST}
    assert {owner for owner in ALL if may_match(Target(everything=True), owner)} == set(ALL)
    assert may_match(in_place("/kubepods"), PENDING)
    assert not may_match(in_place("/docker"), PENDING)


def test_pod_that_is_not_told_of_matches_nothing() -> None:
    assert not matches_pod(EVERY_POD, Owner(9, "pod", pod_uid="uid"))
