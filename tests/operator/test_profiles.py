# SPDX-License-Identifier: Apache-2.0
"""Seccomp profiles, from what nodes have learned to the pods that wear them."""

import json
from collections.abc import Iterable
from typing import Any

from eunomia_api import agent_pb2
from eunomia_operator.binding import binding_of

BEGIN = 1767225600.0
RUNNING = agent_pb2.JOB_STATE_RUNNING
NODES = ("node-a", "node-b")
USUAL = ("read", "write")


def learned(
    *calls: str,
    container: str = "web",
    runs: int = 3,
    whole: int = 1,
    quiet: float = 3600,
    refusals: Iterable[agent_pb2.Refusal] = (),
    now: float = BEGIN,
) -> agent_pb2.Learned:
    return agent_pb2.Learned(
        container=container,
        runs=runs,
        whole_runs=whole,
        calls=[agent_pb2.CallCount(name=name, runs=runs) for name in calls or USUAL],
        runtime_calls=[agent_pb2.CallCount(name="execve", runs=whole)] if whole else [],
        since_ms=int((now - 7200) * 1000),
        last_new_ms=int((now - quiet) * 1000),
        architecture="SCMP_ARCH_X86_64",
        base="Unconfined",
        pods=["web-1"],
        refusals=refusals,
    )


def condition(story: Any, type_: str) -> tuple[str, str, str]:
    told = story.status("guard")["conditions"]
    found = next(each for each in told if each["type"] == type_)
    return found["status"], found["reason"], found["message"]


def seccomp(story: Any) -> Any:
    return story.status("guard")["seccomp"]


class Shop:
    """A policy that learns, and what its nodes say."""

    def __init__(self, story: Any) -> None:
        self.story = story
        self.generation = 0

    def ask(self, mode: str, **spec: Any) -> None:
        self.generation += 1
        event = "MODIFIED" if self.generation > 1 else "ADDED"
        whole = {"seccomp": {"mode": mode, **spec}, "target": {"podSelector": LABELS}}
        self.story.policy("guard", event, generation=self.generation, **whole)

    def learn(
        self, *calls: str, nodes: Iterable[str] = NODES, pods: int = 2, bound: int = 0, **told: Any
    ) -> None:
        for node in nodes:
            report = agent_pb2.PolicyReport(
                learned=[learned(*calls, now=self.story.now, **told)], bound_pods=bound
            )
            fields = {"generation": self.generation, "state": RUNNING, "pods": pods}
            self.story.tell(node, "guard", policy=report, **fields)

    async def look(self, seconds: float = 6.0, *, lay: bool = True) -> None:
        """Let passes go by until what they lead to is done."""
        await self.story.look(seconds)
        for _ in range(4):
            await self.story.look(1)
            if lay:
                self.story.lay(*NODES)
        await self.story.look(6)

    async def enforce(self) -> None:
        """Come as far as a profile that is enforced."""
        self.ask("Enforce")
        await self.story.look()
        self.learn()
        await self.look()

    @property
    def profile(self) -> Any:
        return self.story.profiles.bodies["guard-web"]


LABELS = {"matchLabels": {"app": "web"}}


async def test_a_profile_is_made_once_enough_was_seen_and_bound_once_it_lies_on_every_node(
    story: Any,
) -> None:
    shop = Shop(story)
    shop.ask("Enforce")
    await story.look()
    await story.look(31)
    assert condition(story, "Converged")[:2] == ("False", "NothingSeen")

    shop.learn(quiet=60)
    await shop.look()
    assert story.profiles.bodies == {}
    assert condition(story, "Converged")[:2] == ("False", "Learning")
    assert "the last new call came" in condition(story, "Converged")[2]
    assert (seccomp(story)["mode"], seccomp(story)["phase"]) == ("Learn", "Learning")
    assert seccomp(story)["containers"][0] == {
        "name": "web",
        "runs": 6,
        "wholeRuns": 2,
        "calls": 3,
        "lastNew": "2025-12-31T23:59:31Z",
        "unseenPercent": 0,
        "base": "Unconfined",
        "profile": "",
        "hash": "",
    }

    shop.learn()
    await story.look(2)
    story.lay("node-a")
    await shop.look(lay=False)
    profile = shop.profile
    assert profile["spec"]["version"] == "v1"
    assert profile["spec"]["syscalls"] == ["execve", "read", "write"]
    assert profile["spec"]["provenance"]["pods"] == ["web-1"]
    assert profile["metadata"]["ownerReferences"][0]["uid"] == "uid-guard"
    assert profile["spec"].get("binding") is None
    assert (profile["status"]["nodesReady"], profile["status"]["nodes"]) == (0, 2)
    assert condition(story, "ProfileReady")[:2] == ("False", "Distributing")
    assert seccomp(story)["phase"] == "Distributing"
    (file,) = story.files("node-a")
    assert file.path == "eunomia/shop/guard-web.json"
    assert "mount" not in str(json.loads(file.content))

    story.lay("node-a")
    await shop.look(lay=False)
    assert shop.profile["status"]["nodesReady"] == 1
    assert binding_of(shop.profile) is None
    story.lay("node-b")
    await shop.look(lay=False)
    found = binding_of(shop.profile)
    assert found is not None
    assert (found.container, found.path) == ("web", file.path)
    assert found.selector.matches({"app": "web"})
    assert (seccomp(story)["mode"], seccomp(story)["phase"]) == ("Enforce", "Enforcing")
    assert seccomp(story)["containers"][0]["hash"] == file.sha256
    assert condition(story, "ProfileReady") == ("True", "OnAllNodes", CHANGES)


CHANGES = (
    "guard-web v1; 4 of 4 pods run without it: make them anew; their namespace needs the label"
    " eunomia.dev/seccomp=enabled"
)


async def test_pods_without_the_profile_are_told_of_until_they_are_made_anew(story: Any) -> None:
    shop = Shop(story)
    await shop.enforce()
    shop.learn(pods=2, bound=1)
    await shop.look()
    assert (seccomp(story)["boundPods"], seccomp(story)["unprotectedPods"]) == (2, 2)
    assert condition(story, "Degraded")[:2] == ("True", "UnprotectedPods")
    assert ("guard", "UnprotectedPods") in story.news
    shop.learn(pods=2, bound=2)
    await shop.look()
    assert (seccomp(story)["boundPods"], seccomp(story)["unprotectedPods"]) == (4, 0)
    assert condition(story, "Degraded")[:2] == ("False", "AsExpected")
