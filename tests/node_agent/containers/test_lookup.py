# SPDX-License-Identifier: Apache-2.0
"""What a person means by a word: a container, a pod, the beginning of an id."""

import pytest

from eunomia_agent.containers.lookup import find
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.errors import ContainerUnknown

WEB_0 = Sandbox("0a" * 32, "shop", "web-0", "u0")
WEB_1 = Sandbox("0b" * 32, "shop", "web-1", "u1")
BANK = Sandbox("0c" * 32, "bank", "web-0", "u2")
CACHE = Sandbox("0d" * 32, "shop", "cache", "u3")
NGINX_0 = Container("1b11" + "0" * 60, WEB_0, "nginx")
PHP_0 = Container("1b12" + "0" * 60, WEB_0, "php")
NGINX_1 = Container("2b" * 32, WEB_1, "nginx")
TELLER = Container("3b" * 32, BANK, "teller")
REDIS = Container("cafe" * 16, CACHE, "cache")
DB = Container("4e" * 32, Sandbox(""), "db")
BROKEN = Container("5f" * 32, Sandbox(""), problem="labels of more than 1048576 bytes")
PROXY = Container("7c" * 32, CACHE, "proxy")
ALL = [NGINX_0, PHP_0, NGINX_1, TELLER, REDIS, PROXY, DB, BROKEN]


@pytest.mark.parametrize(
    ("text", "by", "meant"),
    [
        ("nginx", "name", [NGINX_0, NGINX_1]),
        ("db", "name", [DB]),
        ("cache", "name", [REDIS]),
        ("shop/cache", "pod", [REDIS, PROXY]),
        ("web-1", "pod", [NGINX_1]),
        ("shop/web-0", "pod", [NGINX_0, PHP_0]),
        ("bank/web-0", "pod", [TELLER]),
        ("1b11", "id", [NGINX_0]),
        ("4e4e4e4e4e4e", "id", [DB]),
        ("3b" * 32, "id", [TELLER]),
    ],
)
def test_word_stands_for_containers(text: str, by: str, meant: list[Container]) -> None:
    found = find(ALL, text)
    assert (found.by, found.containers) == (by, meant)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("web-0", ["several pods 'web-0'", "bank/web-0, shop/web-0"]),
        ("1b1", ["no container or pod '1b1'", "4 digits are needed"]),
        ("ngnix", ["no container or pod 'ngnix'", "near to it: nginx"]),
        ("shop/web-2", ["near to it:", "shop/web-0", "shop/web-1"]),
        ("zzzzzzzz", ["there are bank/web-0/teller (3b3b3b3b3b3b)", "db (4e4e4e4e4e4e)"]),
        ("5f5f5f5f", ["no container or pod '5f5f5f5f'"]),
        ("", ["no container or pod ''"]),
        ("\x1b[2J", ["no container or pod '\\x1b[2J'"]),
    ],
)
def test_word_that_stands_for_nothing_clear_says_what_there_is(text: str, told: list[str]) -> None:
    with pytest.raises(ContainerUnknown) as caught:
        find(ALL, text)
    assert [part for part in told if part not in str(caught.value)] == []


def test_word_that_is_a_pod_and_a_container_elsewhere_is_asked_about() -> None:
    other = Container("6a" * 32, WEB_1, "cache")
    with pytest.raises(ContainerUnknown, match="say shop/cache for the pod, or give an id"):
        find([*ALL, other], "cache")
    assert find([*ALL, other], "shop/cache").by == "pod"


def test_beginning_of_two_ids_is_asked_about() -> None:
    twin = Container("1b11" + "f" * 60, Sandbox(""), "twin")
    with pytest.raises(ContainerUnknown, match=r"give more digits, shop/web-0/nginx \(1b11"):
        find([*ALL, twin], "1b11")


def test_host_of_thousands_lists_a_few() -> None:
    many = [Container(f"{n:064x}", Sandbox(""), f"c{n}") for n in range(3000)]
    with pytest.raises(ContainerUnknown, match="and 2988 more") as caught:
        find(many, "zzzzzzzz")
    assert len(str(caught.value)) < 500


def test_host_without_containers_says_so() -> None:
    with pytest.raises(ContainerUnknown, match="no container runtime knows of any"):
        find([], "web")
