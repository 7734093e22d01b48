# SPDX-License-Identifier: Apache-2.0
"""Profiles whose base is another profile, one that a user wrote or another policy's."""

import json
from typing import Any

import pytest

from eunomia_api import agent_pb2
from eunomia_api.profile import allowed_names
from eunomia_api.seccomp import SeccompProfileSpec
from eunomia_operator.learned.inheritance import MOST_BASES, Bases, Known
from eunomia_operator.objects.world import Kind

NODES = ("node-a", "node-b")
ABI = "SCMP_ARCH_X86_64"


class Bakery:
    """A policy that learns, and profiles that somebody wrote beside it."""

    def __init__(self, story: Any) -> None:
        self.story = story
        self.generation = 0
        self.namespace = "shop"

    def ask(self, name: str = "guard", **seccomp: Any) -> None:
        self.generation += 1
        event = "MODIFIED" if self.generation > 1 and name == "guard" else "ADDED"
        about = {"generation": self.generation, "namespace": self.namespace}
        self.story.policy(name, event, **about, seccomp={"mode": "Learn", **seccomp})

    def write(self, name: str, *calls: str, namespace: str = "shop", **spec: Any) -> None:
        """Somebody writes a profile, or changes it."""
        before = self.story.profiles.bodies.get(name, {})
        generation = before.get("metadata", {}).get("generation", 0) + 1
        metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
        whole = {"version": "v1", "architectures": [ABI], "syscalls": [*calls], **spec}
        body = {"metadata": {**metadata, "generation": generation}, "spec": whole}
        self.story.profiles.bodies[name] = {**before, **body}
        event = "MODIFIED" if before else "ADDED"
        self.story.control.world.see(Kind.SECCOMP_PROFILES, event, self.body(name))

    def delete(self, name: str) -> None:
        body = self.story.profiles.bodies.pop(name)
        self.story.control.world.see(Kind.SECCOMP_PROFILES, "DELETED", body)

    def learn(self, *calls: str, name: str = "guard", pods: tuple[str, ...] = ("web-1",)) -> None:
        for node in NODES:
            told = agent_pb2.Learned(
                container="web",
                runs=3,
                whole_runs=1,
                replicas=1,
                calls=[agent_pb2.CallCount(name=call, runs=3) for call in calls],
                runtime_calls=[agent_pb2.CallCount(name="execve", runs=1)],
                since_ms=int((self.story.now - 7200) * 1000),
                last_new_ms=int((self.story.now - 3600) * 1000),
                architecture=ABI,
                pods=pods,
            )
            report = agent_pb2.PolicyReport(learned=[told])
            fields = {"generation": self.generation, "state": agent_pb2.JOB_STATE_RUNNING}
            self.story.tell(node, name, policy=report, **fields)

    async def look(self) -> None:
        await self.story.look(6)
        for _ in range(4):
            await self.story.look(1)
            self.story.lay(*NODES)
        await self.story.look(6)

    def body(self, name: str) -> Any:
        return self.story.profiles.bodies[name]

    def history(self, name: str = "guard-web") -> Any:
        return self.body(name)["status"]["history"]

    def ready(self, name: str | None = None) -> tuple[str, str, str]:
        """Of a profile, or else of the policy's profiles."""
        status = self.body(name)["status"] if name else self.story.status("guard")
        type_ = "Ready" if name else "ProfileReady"
        found = next(each for each in status["conditions"] if each["type"] == type_)
        return found["status"], found["reason"], found["message"]

    def allowed(self, name: str) -> frozenset[str]:
        """What nodes are told that a profile allows; nothing where they are told of none."""
        files = {each.path.rsplit("/")[-1]: each for each in self.story.files("node-a")}
        found = files.get(f"{name}.json")
        return allowed_names(json.loads(found.content)) if found else frozenset()


@pytest.fixture
async def bakery(story: Any) -> Bakery:
    return Bakery(story)


async def test_a_policy_adds_what_a_profile_allows_that_somebody_wrote(bakery: Bakery) -> None:
    bakery.ask(baseProfileName="ours")
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    # What it would have to allow nobody can tell: no profile is made.
    assert bakery.story.profiles.bodies == {}
    assert bakery.ready() == (
        "False",
        "BaseNotUsable",
        "there is no SeccompProfile ours, in namespace shop: make it",
    )
    assert ("guard", "BaseNotUsable") in bakery.story.news

    bakery.write("ours", "mount", "ptrace", base="RuntimeDefault")
    await bakery.look()
    spec = bakery.body("guard-web")["spec"]
    assert (spec["syscalls"], spec["baseSyscalls"]) == (["execve", "read"], ["mount", "ptrace"])
    assert (spec["baseProfileName"], spec["base"]) == ("ours", "RuntimeDefault")
    assert {"execve", "read", "mount", "ptrace", "chmod"} <= bakery.allowed("guard-web")
    assert bakery.ready()[:2] == ("True", "OnAllNodes")

    # It says something else: that is another version, and one may go back.
    bakery.write("ours", "mount", "swapon")
    await bakery.look()
    new, old = bakery.history()
    assert (new["version"], new["added"], new["removed"]) == ("v2", ["swapon"], ["ptrace"])
    assert (new["base"], old["base"]) == ("None", "RuntimeDefault")
    assert bakery.allowed("guard-web").isdisjoint({"ptrace", "chmod"})
    bakery.ask(mode="Audit", baseProfileName="ours", profile="v1")
    await bakery.look()
    assert {"mount", "ptrace", "chmod"} <= bakery.allowed("guard-web")
    assert "swapon" not in bakery.allowed("guard-web")

    # Without it, what it added is allowed no more.
    bakery.ask(mode="Audit")
    await bakery.look()
    assert bakery.history()[0]["removed"] == ["mount", "swapon"]
    assert bakery.allowed("guard-web").isdisjoint({"mount", "swapon", "ptrace"})


async def test_a_base_that_is_gone_takes_nothing_from_who_had_it(bakery: Bakery) -> None:
    bakery.write("ours", "mount")
    bakery.write("heir", "swapon", baseProfileName="ours")
    bakery.ask(baseProfileName="ours")
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    before = {name: bakery.allowed(name) for name in ("guard-web", "heir")}
    assert {"mount", "read"} <= before["guard-web"]
    assert {"mount", "swapon"} <= before["heir"]

    bakery.delete("ours")
    await bakery.look()
    assert {name: bakery.allowed(name) for name in before} == before
    gone = "there is no SeccompProfile ours, in namespace shop: make it"
    assert bakery.ready() == (
        *("True", "OnAllNodes"),
        f"guard-web v1; what profiles had of a base they keep: {gone}",
    )
    assert bakery.ready("heir") == (
        *("True", "OnAllNodes"),
        f"on 2 of 2 nodes; what its base allowed last is kept: {gone}",
    )
    # Another leader, which never saw the base, and another version.
    bakery.story.lead()
    for node in NODES:
        bakery.story.node(node)
    bakery.write("heir", "swapon", "bpf", baseProfileName="ours", version="v2")
    await bakery.look()
    assert bakery.allowed("heir") == before["heir"] | {"bpf"}
    assert bakery.history("heir")[0]["baseSyscalls"] == ["mount"]


@pytest.mark.parametrize("below", ["None", "RuntimeDefault"])
async def test_a_policy_tightens_its_own_base_though_that_among_profiles_is_gone(
    bakery: Bakery, below: str
) -> None:
    bakery.write("ours", "mount", base=below)
    bakery.write("heir", "swapon", base="RuntimeDefault", baseProfileName="ours")
    bakery.ask(baseProfileName="ours", base="RuntimeDefault")
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    assert {"chmod", "mount"} <= bakery.allowed("guard-web")
    bakery.delete("ours")
    await bakery.look()
    assert [each["version"] for each in bakery.history()] == ["v1"]
    bakery.ask(baseProfileName="ours", base="None")
    bakery.write("heir", "swapon", baseProfileName="ours", version="v2")
    await bakery.look()
    for name in ("guard-web", "heir"):
        assert "mount" in bakery.allowed(name), "what the base allowed is kept"
        assert ("chmod" in bakery.allowed(name)) == (below == "RuntimeDefault")
        assert bakery.history(name)[0]["base"] == below


async def test_a_base_that_is_gone_takes_nothing_though_an_older_operator_told_less_of_it(
    bakery: Bakery,
) -> None:
    bakery.write("ours", "mount", base="RuntimeDefault")
    bakery.write("heir", "swapon", baseProfileName="ours")
    enforced = {"mode": "Enforce", "baseProfileName": "ours"}
    bakery.ask(**enforced)
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    names = ("guard-web", "heir")
    before = {name: bakery.allowed(name) for name in names}
    assert all({"mount", "chmod"} <= calls for calls in before.values())

    async def update() -> None:
        for name in names:
            for told in (bakery.body(name)["spec"], *bakery.history(name)):
                told.pop("baseProfileBase", None)
        bakery.story.lead()
        for node in NODES:
            bakery.story.node(node)
        bakery.ask(**enforced)
        await bakery.look()
        bakery.learn("read")
        await bakery.look()

    # With its base there, that is no reason for another version.
    await update()
    assert [each["version"] for each in bakery.history()] == ["v1"]
    bakery.delete("ours")
    await update()
    assert {name: bakery.allowed(name) for name in names} == before
    for name in names:
        assert [each["version"] for each in bakery.history(name)] == ["v1"]
        assert bakery.history(name)[0]["base"] == "RuntimeDefault"
    # Nor does a version that is made meanwhile lose it.
    bakery.ask(**enforced, allow=["bpf"])
    bakery.write("heir", "swapon", "bpf", baseProfileName="ours", version="v2")
    await bakery.look()
    assert {name: bakery.allowed(name) for name in names} == {
        name: before[name] | {"bpf"} for name in names
    }


async def test_a_policy_is_not_said_to_be_enforced_because_its_base_is_gone(
    bakery: Bakery,
) -> None:
    bakery.write("ours", "mount")
    bakery.ask(mode="Audit", baseProfileName="ours")
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    bakery.learn("read", "swapon")
    bakery.delete("ours")
    bakery.ask(mode="Enforce", baseProfileName="ours")
    await bakery.look()
    status, reason, message = bakery.ready()
    assert (status, reason) == ("True", "NotEnforced")
    assert "6 calls were seen that it would refuse" in message
    assert message.endswith("keep: there is no SeccompProfile ours, in namespace shop: make it")
    assert ("guard", "NotEnforced") in bakery.story.news
    bakery.ask(mode="Enforce", baseProfileName="ours", profile="v9")
    await bakery.look()
    assert bakery.ready()[:2] == ("False", "NoSuchVersion")


async def test_a_profile_of_ones_own_goes_with_its_base(bakery: Bakery) -> None:
    bakery.write("heir", "swapon", baseProfileName="ours")
    await bakery.look()
    assert bakery.allowed("heir") == frozenset()
    lacking = "there is no SeccompProfile ours, in namespace shop: make it"
    assert bakery.ready("heir") == ("False", "BaseNotUsable", lacking)
    status = bakery.body("heir")["status"]
    assert (status["nodesReady"], status["nodes"]) == (0, 2)

    bakery.write("runc", "pivot_root")
    bakery.write("ours", "mount", baseProfileName="runc")
    await bakery.look()
    assert {"swapon", "mount", "pivot_root"} <= bakery.allowed("heir")
    assert bakery.ready("heir")[:2] == ("True", "OnAllNodes")
    sha256 = bakery.body("heir")["status"]["sha256"]
    bakery.write("runc", "bpf")
    await bakery.look()
    assert "bpf" in bakery.allowed("heir")
    assert "pivot_root" not in bakery.allowed("heir")
    assert bakery.body("heir")["status"]["sha256"] != sha256
    assert "baseSyscalls" not in bakery.body("heir")["spec"], "its author's, and not ours to write"


@pytest.mark.parametrize(("had", "named"), [("ours", "typo"), (None, "typo"), ("ours", "heir")])
async def test_a_slip_in_the_name_of_a_base_takes_no_file_from_pods_that_wear_it(
    bakery: Bakery, had: str | None, named: str
) -> None:
    bakery.write("ours", "mount", base="RuntimeDefault")
    bakery.write("heir", "swapon", "sync", baseProfileName=had)
    await bakery.look()
    assert bakery.ready("heir") == ("True", "OnAllNodes", "on 2 of 2 nodes")
    before, status = bakery.allowed("heir"), bakery.body("heir")["status"]
    assert {"swapon", "sync"} <= before

    bakery.write("heir", "swapon", baseProfileName=named, version="v2")
    await bakery.look()
    assert bakery.allowed("heir") == before
    after = bakery.body("heir")["status"]
    assert (after["sha256"], after["history"]) == (status["sha256"], status["history"])
    verdict, _, message = bakery.ready("heir")
    why = (
        f"there is no SeccompProfile {named}, in" if named == "typo" else "in namespace shop, heir"
    )
    assert verdict == "True"
    assert message.startswith(f"on 2 of 2 nodes; all stays as v1 was: {why}")
    # Another leader, and a node that lost its files.
    bakery.story.lead()
    for node in NODES:
        bakery.story.node(node)
    await bakery.look()
    assert bakery.allowed("heir") == before
    bakery.story.lay("node-b", sha256="0" * 64)
    await bakery.story.look(6)
    assert bakery.body("heir")["status"]["nodesReady"] == 1
    assert bakery.ready("heir")[:2] == ("False", "Distributing")

    bakery.write("heir", "swapon", baseProfileName="ours", version="v2")
    await bakery.look()
    assert {"swapon", "mount"} <= bakery.allowed("heir")
    assert "sync" in bakery.allowed("heir"), "the base has what runtimes allow"
    assert bakery.ready("heir") == ("True", "OnAllNodes", "on 2 of 2 nodes")
    assert [each["version"] for each in bakery.history("heir")] == ["v2", "v1"]


async def test_bases_in_a_circle_are_no_bases(bakery: Bakery) -> None:
    bakery.write("a", "mount", baseProfileName="b")
    bakery.write("b", "bpf", baseProfileName="c")
    bakery.write("c", "swapon", baseProfileName="b")
    await bakery.look()
    loop = "b has the base c has the base b"
    circle = f"in namespace shop, {loop}: a profile can be no base of its own"
    assert bakery.ready("a") == ("False", "BaseNotUsable", circle)
    assert bakery.ready("b")[:2] == ("False", "BaseNotUsable")
    assert bakery.allowed("a") == frozenset()


async def test_more_bases_behind_one_another_than_a_pass_may_follow_are_no_bases(
    bakery: Bakery,
) -> None:
    last = MOST_BASES + 1
    for number in range(last):
        bakery.write(f"p{number}", f"call{number}", baseProfileName=f"p{number + 1}")
    bakery.write(f"p{last}", "bpf")
    bakery.ask(baseProfileName="p0")
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    assert {"call1", f"call{MOST_BASES}", "bpf"} <= bakery.allowed("p1")
    assert bakery.allowed("p0") == frozenset()
    told = "there are more than 8 bases behind one another"
    assert bakery.ready("p0") == (
        *("False", "BaseNotUsable"),
        f"in namespace shop, {told}, p1 the first of them: name one that has fewer",
    )
    assert bakery.ready()[:2] == ("False", "BaseNotUsable")
    assert f"{told}, p0 the first of them" in bakery.ready()[2]


class Asked(dict[str, Known]):
    """Profiles by name, and how often one was looked up."""

    times = 0

    def get(self, *key: Any) -> Any:
        self.times += 1
        return super().get(*key)

    def __getitem__(self, key: str) -> Known:
        self.times += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("chain", [MOST_BASES, 2000])
def test_profiles_that_follow_one_another_cost_no_more_for_each_the_more_there_are(
    chain: int,
) -> None:
    known = Asked()
    for number in range(2000):
        ends = number % chain == chain - 1 or number == 1999
        base = None if ends else f"p{number + 1}"
        spec = SeccompProfileSpec(architectures=[ABI], version="v1", base_profile_name=base)
        known[f"p{number}"] = Known(spec)
    bases = Bases("shop", known)
    problems = [bool(bases.inherited(name).problem) for name in known]
    assert sum(problems) == max(0, chain - MOST_BASES)
    assert known.times <= 2000 * (MOST_BASES + 2)


async def test_a_policy_that_others_build_on_can_build_on_none_of_them(bakery: Bakery) -> None:
    bakery.ask()
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    bakery.write("heir", "swapon", baseProfileName="guard-web")
    bakery.ask("other", baseProfileName="guard-web")
    await bakery.look()
    bakery.learn("write", name="other")
    await bakery.look()
    assert {"read", "write"} <= bakery.allowed("other-web")
    assert {"read", "swapon"} <= bakery.allowed("heir")
    for base, through in (("other-web", "other-web has the base "), ("guard-web", "")):
        bakery.ask(baseProfileName=base)
        await bakery.look()
        message = f"in namespace shop, {through}guard-web: a profile can be no base of its own"
        told = f"guard-web v1; what profiles had of a base they keep: {message}"
        assert bakery.ready() == ("True", "OnAllNodes", told)
    assert [each["version"] for each in bakery.history()] == ["v1"]


async def test_a_policy_of_the_whole_cluster_builds_on_profiles_beside_the_operator(
    bakery: Bakery,
) -> None:
    bakery.write("ours", "mount")
    bakery.namespace = ""
    bakery.ask(baseProfileName="ours")
    await bakery.look()
    bakery.learn("read")
    await bakery.look()
    assert "in namespace eunomia-system" in bakery.ready()[2]
    bakery.delete("ours")
    bakery.write("ours", "bpf", namespace="eunomia-system")
    await bakery.look()
    assert {"read", "bpf"} <= bakery.allowed("cluster-guard-web")


async def test_each_version_says_of_which_pods_it_was_made_and_how_long_they_were_watched(
    bakery: Bakery,
) -> None:
    bakery.ask()
    await bakery.look()
    bakery.learn("read", pods=("web-1",))
    await bakery.look()
    first = bakery.body("guard-web")["spec"]["provenance"]
    assert (first["pods"], first["runs"]) == (["web-1"], 6)
    assert first["since"] < first["until"]
    bakery.learn("read", "bpf", pods=tuple(f"web-{number}" for number in range(2, 40)))
    await bakery.look()
    second = bakery.body("guard-web")["spec"]["provenance"]
    assert second["pods"] == [f"web-{number}" for number in range(2, 18)], "some of them"
    assert second["until"] > first["until"]
    # To allow a call is not to have seen it.
    bakery.ask(allow=["mount"], mode="Audit")
    await bakery.look()
    told = [(each["version"], each["provenance"]) for each in bakery.history()]
    assert told == [("v3", second), ("v2", second), ("v1", first)]
    bakery.ask(allow=["mount"], mode="Audit", profile="v1")
    await bakery.look()
    assert bakery.body("guard-web")["spec"]["provenance"] == first
    assert [(each["version"], each["provenance"]) for each in bakery.history()] == told


def test_what_a_policys_profile_took_over_is_that_of_its_version() -> None:
    spec = SeccompProfileSpec(
        architectures=[ABI],
        version="v3",
        syscalls=["read"],
        base_profile_name="gone",
        base_syscalls=["mount"],
    )
    found = Bases("shop", {"web": Known(spec, "uid-guard")}).inherited("web")
    assert (found.syscalls, found.problem) == (("mount", "read"), "")
    assert Bases("shop", {"web": Known(spec)}).inherited("web").problem == (
        "there is no SeccompProfile gone, the base of web, in namespace shop: make it"
    )
