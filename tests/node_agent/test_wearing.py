# SPDX-License-Identifier: Apache-2.0
"""Who wears a profile, by the word of the runtime, which is asked once a container."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from eunomia_agent.containers import wearing as module
from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Runtime
from eunomia_agent.containers.wearing import AT_ONCE, Wearers, Wearing, wearers
from eunomia_agent.errors import RuntimeUnavailable

WEB, SIDE = "eunomia/shop/guard-web.json", "eunomia/shop/guard-side.json"
PROFILES = {"web": WEB, "side": SIDE}


def container(pod: str, name: str, **fields: Any) -> Owner:
    kind = fields.pop("kind", "container")
    return Owner(1, kind, "shop", pod, f"uid-{pod}", name, f"{pod}/{name}", **fields)


def confined(worn: dict[str, str]) -> dict[str, Confinement]:
    return {each: Confinement(path) for each, path in worn.items()}


@pytest.mark.parametrize(
    ("worn", "told"),
    [
        ({"a/web": WEB, "a/side": SIDE}, Wearers(bound=1)),
        ({"a/web": WEB, "a/side": ""}, Wearers(bare=1)),
        ({"a/web": WEB, "a/side": "eunomia/eunomia-system/cluster-x-side.json"}, Wearers()),
        ({"a/web": "", "a/side": "eunomia/eunomia-system/cluster-x-side.json"}, Wearers(bare=1)),
        ({"a/web": SIDE, "a/side": WEB}, Wearers()),
        ({"a/web": WEB}, None),
    ],
)
def test_a_pod_is_bound_when_each_container_with_a_profile_wears_its_own(
    worn: dict[str, str], told: Wearers | None
) -> None:
    pod = [container("a", "web"), container("a", "side"), container("a", "unlearned")]
    assert wearers(PROFILES, pod, confined(worn)) == told


def test_pods_without_such_a_container_are_neither_bound_nor_bare() -> None:
    others = [container("b", "init"), container("b", "web", kind="sandbox")]
    assert wearers(PROFILES, others, {}) == Wearers()
    twice = [container("a", "web"), container("a", "web")]  # a cgroup that it made inside
    assert wearers(PROFILES, [*twice, *others], confined({"a/web": WEB})) == Wearers(bound=1)


class Told:
    """A runtime that answers for what it holds, and who is told."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.asked: list[str] = []
        self.worn: dict[str, Confinement] = {}
        self.error: Exception | None = None
        self.wearing = Wearing(cast(Runtime, self), self.worn.update)

    async def confinement(self, container_id: str) -> Confinement | None:
        self.asked.append(container_id)
        if self.error:
            raise self.error
        return confined(self.held).get(container_id)

    async def ask(self, *containers: str) -> list[str]:
        """Ask, and return who was asked about."""
        self.asked.clear()
        self.wearing.ask(set(containers))
        await asyncio.sleep(0.01)
        return sorted(self.asked)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    class Clock:
        now = 1000.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    def go(seconds: float) -> None:
        Clock.now += seconds

    monkeypatch.setattr(module, "time", Clock)
    return go


@pytest.mark.parametrize("error", [None, RuntimeUnavailable("down"), AttributeError("odd")])
async def test_who_does_not_answer_is_asked_again_ever_more_rarely(
    passes: Callable[[float], None], error: Exception | None
) -> None:
    told = Told()
    told.error = error
    assert await told.ask("a", "b") == ["a", "b"]
    assert await told.ask("a", "b") == []
    times = 0
    for _ in range(300):
        passes(1.0)
        times += len(await told.ask("a"))
    assert 6 <= times <= 10
    assert told.worn == {}
    told.error, told.held = None, {"a": WEB, "b": ""}
    passes(60.0)
    assert await told.ask("a", "b") == ["a", "b"]
    assert told.worn == confined({"a": WEB, "b": ""})


async def test_a_few_are_asked_about_at_once() -> None:
    told = Told()
    many = [f"{number:04}" for number in range(AT_ONCE + 3)]
    told.held = dict.fromkeys(many, "")
    assert len(await told.ask(*many)) == AT_ONCE
    assert len(await told.ask(*set(many) - told.worn.keys())) == 3
    assert told.worn == confined(told.held)
    await told.wearing.close()
