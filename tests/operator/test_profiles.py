# SPDX-License-Identifier: Apache-2.0
"""Seccomp profiles, from what nodes have learned to the pods that wear them."""

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from eunomia_api import agent_pb2
from eunomia_operator.admission.binding import binding_of
from eunomia_operator.objects.world import Kind

BEGIN = 1767225600.0
RUNNING = agent_pb2.JOB_STATE_RUNNING
NODES = ("node-a", "node-b")
USUAL = ("read", "write")


def learned(
    *calls: str,
    container: str = "web",
    runs: int = 3,
    whole: int = 1,
    replicas: int | None = 2,
    quiet: float = 3600,
    refusals: Iterable[agent_pb2.Refusal] = (),
    machine: str = "SCMP_ARCH_X86_64",
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
        architecture=machine,
        base="Unconfined",
        pods=["web-1"],
        replicas=replicas,
        refusals=refusals,
    )


def condition(story: Any, type_: str) -> tuple[str, str, str]:
    told = story.status("guard")["conditions"]
    found = next(each for each in told if each["type"] == type_)
    return found["status"], found["reason"], found["message"]


def seccomp(story: Any) -> Any:
    return story.status("guard")["seccomp"]


class Shop:
    """A policy that learns, and what its nodes say. namespace: empty for the whole cluster."""

    def __init__(self, story: Any, namespace: str = "shop") -> None:
        self.story = story
        self.namespace = namespace
        self.target: dict[str, Any] = {"podSelector": LABELS}
        self.generation = 0

    def ask(self, mode: str, **spec: Any) -> None:
        self.generation += 1
        event = "MODIFIED" if self.generation > 1 else "ADDED"
        whole = {"seccomp": {"mode": mode, **spec}, "target": self.target}
        about = {"generation": self.generation, "namespace": self.namespace}
        self.story.policy("guard", event, **about, **whole)

    def learn(
        self,
        *calls: str,
        nodes: Iterable[str] = NODES,
        pods: int = 2,
        bound: int = 0,
        bare: int = 2,
        **told: Any,
    ) -> None:
        for node in nodes:
            report = agent_pb2.PolicyReport(
                learned=[learned(*calls, now=self.story.now, **told)],
                bound_pods=bound,
                unprotected_pods=bare,
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
        return self.story.profiles.bodies["guard-web" if self.namespace else "cluster-guard-web"]


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
        "replicas": 4,
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
    assert binding_of(shop.profile, "eunomia-system") is None
    story.lay("node-b")
    await shop.look(lay=False)
    found = binding_of(shop.profile, "eunomia-system")
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
    (profile,) = story.jobs("node-a")[0].learning.profiles
    assert (profile.container, profile.path) == ("web", "eunomia/shop/guard-web.json")
    shop.learn(pods=3, bound=1, bare=1)  # and one that wears another policy's
    await shop.look()
    assert (seccomp(story)["boundPods"], seccomp(story)["unprotectedPods"]) == (2, 2)
    assert condition(story, "Degraded")[:2] == ("True", "UnprotectedPods")
    assert ("guard", "UnprotectedPods") in story.news
    shop.learn(pods=2, bound=2, bare=0)
    await shop.look()
    assert (seccomp(story)["boundPods"], seccomp(story)["unprotectedPods"]) == (4, 0)
    assert condition(story, "Degraded")[:2] == ("False", "AsExpected")


async def test_what_the_profile_would_refuse_holds_a_switch_to_enforce_back(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Audit")
    await story.look()
    shop.learn()
    await shop.look()
    assert (seccomp(story)["mode"], seccomp(story)["phase"]) == ("Audit", "Auditing")
    assert seccomp(story)["unprotectedPods"] == 0, "no pod is to have a profile yet"
    assert not story.jobs("node-a")[0].learning.bound
    (audited,) = story.jobs("node-a")[0].learning.audited
    assert audited.container == "web"
    assert {"read", "write", "execve", "exit_group"} <= set(audited.syscalls)
    assert "mount" not in audited.syscalls

    refusals = [
        agent_pb2.Refusal(call="mount", count=5, comm="sh\n"),
        agent_pb2.Refusal(call="swapon", count=9, comm="sh", enforced=True),
        agent_pb2.Refusal(call="read (32-bit)", count=2, comm="sh"),
    ]
    shop.learn(*USUAL, "mount", refusals=refusals)
    await shop.look()
    # What another profile refused already, the workload does without.
    assert seccomp(story)["refusals"] == 10
    assert seccomp(story)["drift"] == ["mount by sh\\n in web"]
    assert shop.profile["spec"]["version"] == "v1"

    shop.ask("Enforce")
    await shop.look()
    assert seccomp(story)["mode"] == "Audit"
    assert condition(story, "ProfileReady")[:2] == ("True", "NotEnforced")
    assert ("guard", "NotEnforced") in story.news
    assert binding_of(shop.profile, "eunomia-system") is None

    shop.ask("Enforce", allow=["mount"])
    await shop.look()
    assert shop.profile["spec"]["version"] == "v2"
    assert seccomp(story)["mode"] == "Enforce"
    assert binding_of(shop.profile, "eunomia-system") is not None
    assert story.jobs("node-a")[0].learning.bound
    # From now on it is this profile that refuses.
    assert (seccomp(story)["refusals"], seccomp(story)["drift"]) == (18, ["swapon by sh in web"])


async def test_force_enforces_though_audit_sees_refusals(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Audit")
    await story.look()
    shop.learn()
    await shop.look()
    shop.learn(*USUAL, "mount")
    shop.ask("Enforce", force=True)
    await shop.look()
    assert (seccomp(story)["mode"], seccomp(story)["refusals"]) == ("Enforce", 6)


async def test_refused_calls_switch_nothing_off_and_let_nobody_in(story: Any) -> None:
    shop = Shop(story)
    await shop.enforce()
    refused = [agent_pb2.Refusal(call="mount", count=4, comm="sh", enforced=True)]
    shop.learn(*USUAL, "swapon", refusals=refused, bound=2)
    await shop.look(3600)
    assert seccomp(story)["mode"] == "Enforce"
    assert seccomp(story)["refusals"] == 14
    assert seccomp(story)["drift"] == ["mount by sh in web", "swapon in web"]
    assert shop.profile["spec"]["version"] == "v1"
    assert binding_of(shop.profile, "eunomia-system") is not None


async def test_a_profile_grows_while_it_learns_and_one_may_go_back(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Learn")
    await story.look()
    shop.learn()
    await shop.look()
    assert seccomp(story)["phase"] == "Converged"
    first = story.files("node-a")[0]
    shop.learn("read", "openat", quiet=10)
    await shop.look()
    assert shop.profile["spec"]["version"] == "v1"
    shop.learn("read", "openat")
    await shop.look()
    assert shop.profile["spec"]["syscalls"] == ["execve", "openat", "read", "write"]
    history = shop.profile["status"]["history"]
    assert [(each["version"], each["added"]) for each in history] == [
        ("v2", ["openat"]),
        ("v1", ["execve", "read", "write"]),
    ]
    assert [file.path for file in story.files("node-a")] == [first.path]
    assert seccomp(story)["containers"][0]["profile"] == "v2"

    shop.ask("Learn", profile="v1")
    await shop.look()
    assert shop.profile["spec"]["version"] == "v1"
    assert story.files("node-a") == [first]
    assert [each["version"] for each in shop.profile["status"]["history"]] == ["v2", "v1"]
    assert seccomp(story)["drift"] == ["openat in web"]

    shop.ask("Learn", profile="v9")
    await shop.look()
    assert condition(story, "ProfileReady") == (
        "False",
        "NoSuchVersion",
        "profile guard-web has no version v9; there are: v2, v1",
    )
    assert story.files("node-a") == [first]


async def test_nothing_is_changed_before_there_is_a_way_back_from_it(story: Any) -> None:
    story.profiles.takes_status = False
    shop = Shop(story)
    shop.ask("Learn")
    await story.look()
    shop.learn()
    await shop.look()
    shop.learn("read", "openat")
    await shop.look()
    assert shop.profile["spec"]["version"] == "v1"
    assert "openat" not in shop.profile["spec"]["syscalls"]

    story.profiles.takes_status = True
    await shop.look()
    assert shop.profile["spec"]["version"] == "v2"
    assert [each["version"] for each in shop.profile["status"]["history"]] == ["v2", "v1"]


async def test_one_goes_back_to_exactly_what_a_version_was(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Learn")
    await story.look()
    shop.learn()
    await shop.look()
    files = {"v1": story.files("node-a")}
    shop.ask("Learn", base="RuntimeDefault")
    await shop.look()
    files["v2"] = story.files("node-a")
    assert "chmod" in str(files["v2"])
    shop.learn(machine="SCMP_ARCH_AARCH64")
    await shop.look()
    files["v3"] = story.files("node-a")
    assert "SCMP_ARCH_ARM" in str(files["v3"])
    history = shop.profile["status"]["history"]
    told = [(each["version"], each["base"], len(each["architectures"])) for each in history]
    whole = [("v3", "RuntimeDefault", 5), ("v2", "RuntimeDefault", 3), ("v1", "None", 3)]
    assert told == whole

    for version in ("v1", "v2", "v3", "v1"):
        shop.ask("Audit", profile=version)
        await shop.look()
        assert story.files("node-a") == files[version]
    assert [each["version"] for each in shop.profile["status"]["history"]] == ["v3", "v2", "v1"]
    shop.ask("Audit", base="RuntimeDefault")
    await shop.look()
    assert story.files("node-a") == files["v3"]


async def test_versions_of_an_older_operator_can_be_gone_back_to(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Learn", base="RuntimeDefault")
    await story.look()
    shop.learn()
    await shop.look()
    shop.learn(*USUAL, "openat")
    await shop.look()
    for each in shop.profile["status"]["history"]:
        del each["base"], each["architectures"]
    story.lead()
    story.node("node-a")
    story.node("node-b")
    shop.ask("Audit", profile="v1", base="RuntimeDefault")
    await story.look()
    shop.learn()
    await shop.look()
    spec = shop.profile["spec"]
    assert (spec["version"], spec["base"]) == ("v1", "RuntimeDefault")
    assert spec["syscalls"] == ["execve", "read", "write"]
    assert len(spec["architectures"]) == 3


async def test_no_more_versions_are_kept_than_there_is_room_for(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Learn")
    await story.look()
    shop.learn()
    await shop.look()
    for number in range(6):
        allowed = [f"call{each}" for each in range(number + 1)]
        shop.ask("Learn", allow=allowed)
        await shop.look()
    history = shop.profile["status"]["history"]
    assert [each["version"] for each in history] == ["v7", "v6", "v5", "v4", "v3"]
    assert shop.profile["spec"]["version"] == "v7"


async def test_a_new_leader_unbinds_nothing_and_makes_nothing_of_the_half(story: Any) -> None:
    shop = Shop(story)
    await shop.enforce()
    story.lead()
    for node in NODES:
        story.node(node)
    story.policy(
        "guard",
        generation=shop.generation,
        target={"podSelector": LABELS},
        seccomp={"mode": "Enforce"},
    )
    before = dict(shop.profile["spec"])
    await story.look()
    shop.learn("read", nodes=["node-a"])
    await story.look(6)
    assert (seccomp(story)["mode"], seccomp(story)["containers"][0]["runs"]) == ("Enforce", 6)
    assert binding_of(shop.profile, "eunomia-system") is not None
    assert [file.path for file in story.files("node-b")] == ["eunomia/shop/guard-web.json"]
    story.lay("node-a")
    await story.look(30)
    assert binding_of(shop.profile, "eunomia-system") is not None
    assert shop.profile["spec"] == before
    # A node of which no leader hears for long may have lost it.
    await story.look(31)
    assert binding_of(shop.profile, "eunomia-system") is None
    story.lay("node-b")
    await story.look(1)
    assert binding_of(shop.profile, "eunomia-system") is not None


async def test_a_node_that_joins_gets_all_files_at_once(story: Any) -> None:
    shop = Shop(story)
    await shop.enforce()
    story.node("node-c")
    await story.look(1)
    assert [file.path for file in story.files("node-c")] == ["eunomia/shop/guard-web.json"]
    await story.look(50)
    assert binding_of(shop.profile, "eunomia-system") is not None
    await story.look(11)
    assert binding_of(shop.profile, "eunomia-system") is None
    story.lay("node-c")
    await story.look(1)
    assert binding_of(shop.profile, "eunomia-system") is not None
    story.node("node-c", "DELETED")
    await story.look(6)
    assert (shop.profile["status"]["nodesReady"], shop.profile["status"]["nodes"]) == (2, 2)


async def test_files_go_to_nodes_that_the_policy_does_not_pick_since_pods_may(story: Any) -> None:
    story.node("node-a", "MODIFIED", disk="ssd")
    shop = Shop(story)
    shop.target["nodeSelector"] = {"disk": "ssd"}
    shop.ask("Enforce")
    await story.look()
    assert [len(story.jobs(node)) for node in NODES] == [1, 0]
    shop.learn(nodes=["node-a"])
    await story.look(6)
    for node in NODES:
        await story.look(6)
        assert [file.path for file in story.files(node)] == ["eunomia/shop/guard-web.json"]
        assert shop.profile["status"]["nodes"] == 2
        assert binding_of(shop.profile, "eunomia-system") is None
        story.lay(node)
    await story.look(6)
    await story.look(6)
    assert binding_of(shop.profile, "eunomia-system") is not None


async def test_nodes_of_windows_are_not_waited_for(story: Any) -> None:
    story.node("node-w", **{"kubernetes.io/os": "windows"})
    await story.look(31)
    shop = Shop(story)
    await shop.enforce()
    assert binding_of(shop.profile, "eunomia-system") is not None


async def test_a_node_that_cannot_write_says_why_and_nothing_is_bound(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Enforce")
    await story.look()
    shop.learn()
    await shop.look(lay=False)
    story.lay("node-a")
    story.lay("node-b", sha256="", problem="no space left on device\nReady")
    await shop.look(lay=False)
    message = condition(story, "ProfileReady")[2]
    assert message == (
        "profile guard-web: on 1 of 2 nodes; node node-b: no space left on device\\nReady"
    )
    assert seccomp(story)["nodesReady"] == 1
    assert binding_of(shop.profile, "eunomia-system") is None
    story.lay("node-b", sha256="")  # there is room again, and the file is on its way
    await shop.look(lay=False)
    assert condition(story, "ProfileReady")[2] == "profile guard-web: on 1 of 2 nodes"


async def test_a_profile_that_somebody_deletes_comes_back_and_its_file_stays(story: Any) -> None:
    shop = Shop(story)
    await shop.enforce()
    gone = story.profiles.bodies.pop("guard-web")
    story.control.world.see(Kind.SECCOMP_PROFILES, "DELETED", gone)
    story.profiles.away = True
    await story.look(1)
    assert len(story.files("node-a")) == 1
    story.profiles.away = False
    await shop.look()
    assert shop.profile["spec"] == gone["spec"]
    assert shop.profile["status"]["history"] == gone["status"]["history"]
    assert binding_of(shop.profile, "eunomia-system") is not None


async def test_files_go_when_policy_and_profile_are_gone_and_not_before(story: Any) -> None:
    shop = Shop(story)
    await shop.enforce()
    shop.ask("Disabled")
    await shop.look()
    assert binding_of(shop.profile, "eunomia-system") is None
    assert len(story.files("node-a")) == 1
    assert condition(story, "ProfileReady")[:2] == ("False", "Disabled")
    assert seccomp(story)["phase"] == ""

    story.policy("guard", "DELETED", target={"podSelector": LABELS})
    await story.look(1)
    assert len(story.files("node-a")) == 1
    story.control.world.see(Kind.SECCOMP_PROFILES, "DELETED", shop.profile)
    await story.look(1)
    assert story.files("node-a") == []


async def test_a_policy_that_never_learned_says_nothing_of_it(story: Any) -> None:
    story.policy("guard")
    await story.look(31)
    types = {each["type"] for each in story.status("guard")["conditions"]}
    assert types == {"Accepted", "Ready", "RulesValid", "Degraded"}


async def test_a_dry_run_binds_nothing(story: Any) -> None:
    target = {"podSelector": LABELS}
    story.policy("guard", mode="DryRun", target=target, seccomp={"mode": "Enforce"})
    shop = Shop(story)
    shop.generation = 1
    await story.look()
    shop.learn()
    await shop.look()
    assert seccomp(story)["mode"] == "Audit"
    assert condition(story, "ProfileReady")[1] == "NotEnforced"
    assert binding_of(shop.profile, "eunomia-system") is None


async def test_a_name_that_another_has_is_left_to_it(story: Any) -> None:
    spec = {"container": "web", "architectures": ["SCMP_ARCH_X86_64"], "version": "mine"}
    metadata = {"name": "guard-web", "namespace": "shop", "uid": "uid-other", "generation": 1}
    other = {"metadata": metadata, "spec": {**spec, "syscalls": ["read"]}}
    story.profiles.bodies["guard-web"] = other
    story.control.world.see(Kind.SECCOMP_PROFILES, "ADDED", other)
    shop = Shop(story)
    await shop.enforce()
    made = next(name for name in story.profiles.bodies if name != "guard-web")
    assert made.startswith("guard-web-")
    assert story.profiles.bodies["guard-web"]["spec"] == other["spec"]
    # One that was written by hand lies on the nodes as well.
    assert story.profiles.bodies["guard-web"]["status"]["nodesReady"] == 2
    assert [file.path for file in story.files("node-a")] == [
        f"eunomia/shop/{made}.json",
        "eunomia/shop/guard-web.json",
    ]


async def test_what_is_no_call_and_no_container_makes_no_profile(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Learn")
    await story.look()
    shop.learn("read", "#999", "rm -rf /", "A" * 70)
    shop.learn("write", container="../../etc", nodes=["node-b"])
    await shop.look()
    assert list(story.profiles.bodies) == ["guard-web"]
    assert shop.profile["spec"]["syscalls"] == ["execve", "read"]
    assert "#999 in web" in seccomp(story)["drift"]


async def test_what_was_not_written_is_written_later(story: Any) -> None:
    shop = Shop(story)
    story.profiles.away = True
    shop.ask("Enforce")
    await story.look()
    shop.learn()
    await shop.look()
    assert story.profiles.bodies == {}
    story.profiles.away = False
    await shop.look()
    assert binding_of(shop.profile, "eunomia-system") is not None


async def test_capabilities_are_recommended_and_stay_as_they_are_while_audited(story: Any) -> None:
    generations = itertools.count(1)

    def write(kind: str, mode: str) -> None:
        story.policy(
            *("guard", kind),
            generation=next(generations),
            capabilities={"mode": mode},
            target={"podSelector": {}},
        )

    story.pods.specs["shop", "web-1"] = {"containers": ["web"]}
    write("ADDED", "Learn")
    await story.look()

    def ask(
        *granted: str,
        beside: Sequence[agent_pb2.Learned] = (),
        given: agent_pb2.Given | None = None,
    ) -> None:
        counts = [
            agent_pb2.CapabilityCount(name=name, granted=1, call="fchown", runs=1)
            for name in granted
        ]
        counts.append(agent_pb2.CapabilityCount(name="CAP_SYS_BOOT", denied=2, runs=1))
        counts.append(agent_pb2.CapabilityCount(name="CAP_{evil}", granted=1))
        pod = agent_pb2.Pod(namespace="shop", name="web-1")
        told = agent_pb2.Learned(
            container="web", runs=1, capabilities=counts, given=given, last_pod=pod
        )
        for node in NODES:
            report = agent_pb2.PolicyReport(learned=[told, *beside])
            story.tell(node, "guard", state=RUNNING, policy=report)

    ask("CAP_CHOWN")
    for _ in range(2):  # a pod is read in between
        await story.look(6)
    (web,) = story.status("guard")["capabilities"]["containers"]
    assert (web["used"], web["denied"], web["add"]) == (["CAP_CHOWN"], ["CAP_SYS_BOOT"], ["CHOWN"])
    assert web["checks"] == [
        {"name": "CAP_CHOWN", "call": "fchown", "granted": 2, "denied": 0},
        {"name": "CAP_SYS_BOOT", "call": "", "granted": 0, "denied": 4},
    ]
    # Agents that do not tell what it has: that is not to say that it has nothing.
    assert (web["bounding"], web["privileged"], web["drop"]) == (None, None, None)
    assert json.loads(web["patch"])["spec"]["template"]["spec"]["containers"] == [
        {
            "name": "web",
            "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}},
        }
    ]
    has = agent_pb2.Given(capabilities=["CAP_CHOWN", "CAP_SYS_ADMIN"])
    ask("CAP_CHOWN", given=has)
    await story.look(6)
    (web,) = story.status("guard")["capabilities"]["containers"]
    assert web["bounding"] == ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    assert (web["privileged"], web["drop"]) == (False, ["SYS_ADMIN"])
    # What is used beside it lets nobody in: nodes go on to tell of it. What comes later and has
    # asked for nothing yet is not held to that.
    write("MODIFIED", "Audit")
    has.capabilities.append("CAP_NET_ADMIN")
    late = agent_pb2.Learned(container="late", runs=1)
    ask("CAP_CHOWN", "CAP_NET_ADMIN", beside=[late], given=has)
    await story.look(6)
    (later,) = story.status("guard")["capabilities"]["containers"]
    assert later == web | {
        "used": ["CAP_CHOWN", "CAP_NET_ADMIN"],
        "checks": [
            web["checks"][0],
            {"name": "CAP_NET_ADMIN", "call": "fchown", "granted": 2, "denied": 0},
            web["checks"][1],
        ],
        "bounding": ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"],
        "drop": ["NET_ADMIN", "SYS_ADMIN"],
    }
    (audited,) = story.jobs("node-a")[0].learning.audited_capabilities
    assert (audited.container, audited.used, audited.denied) == (
        *("web", ["CAP_CHOWN"], ["CAP_SYS_BOOT"]),
    )
    # Nobody tells for a while what it has, as after a restart of the agents: that stays.
    has.privileged = True
    ask("CAP_CHOWN", given=has)
    await story.look(6)
    ask("CAP_CHOWN")
    await story.look(6)
    (told,) = story.status("guard")["capabilities"]["containers"]
    (patched,) = json.loads(told["patch"])["spec"]["template"]["spec"]["containers"]
    assert (told["privileged"], patched["securityContext"]["privileged"]) == (True, False)
    assert told["drop"] == ["NET_ADMIN", "SYS_ADMIN"]
    ask("CAP_CHOWN", "CAP_NET_ADMIN", beside=[late], given=has)
    write("MODIFIED", "Learn")
    await story.look(6)
    new, learned = story.status("guard")["capabilities"]["containers"]
    assert (new["name"], new["add"]) == ("late", [])
    assert learned["add"] == ["CHOWN", "NET_ADMIN"]
    assert not story.jobs("node-a")[0].learning.audited_capabilities


def init(pod: str, container: str = "setup", namespace: str = "shop") -> agent_pb2.PolicyReport:
    """What a node tells of a container that only chowns."""
    asked = agent_pb2.CapabilityCount(name="CAP_CHOWN", granted=1)
    where = agent_pb2.Pod(namespace=namespace, name=pod)
    told = agent_pb2.Learned(container=container, runs=1, capabilities=[asked], last_pod=where)
    return agent_pb2.PolicyReport(learned=[told])


async def test_the_patch_of_an_init_container_is_for_the_list_that_has_it(story: Any) -> None:
    story.policy("guard", capabilities={"mode": "Learn"}, target={"podSelector": {}})
    await story.look()
    story.tell("node-a", "guard", state=RUNNING, policy=init("web-1"))
    story.tell("node-b", "guard", state=RUNNING, policy=init("web-2", namespace="bank"))

    def setup() -> Any:
        return story.status("guard")["capabilities"]["containers"][0]

    await story.look(6)
    assert (setup()["add"], setup()["podField"], setup()["patch"]) == (["CHOWN"], "", "")
    assert story.pods.read == [("shop", "web-1")], "one of another namespace is none of its pods"
    story.pods.specs["shop", "web-1"] = {"containers": ["web"], "initContainers": ["setup"]}
    for _ in range(2):
        await story.look(31)
    assert setup()["podField"] == "initContainers"
    assert json.loads(setup()["patch"])["spec"]["template"]["spec"] == {
        "initContainers": [
            {
                "name": "setup",
                "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}},
            }
        ]
    }
    # Another leader need not ask for it again, nor while it is audited.
    times = len(story.pods.read)
    audit = {"capabilities": {"mode": "Audit"}, "target": {"podSelector": {}}}
    story.policy("guard", "MODIFIED", generation=2, **audit)
    before = setup()
    for _ in range(3):
        await story.look(31)
    assert (setup()["patch"], len(story.pods.read)) == (before["patch"], times)


async def test_a_container_that_no_pod_is_known_to_have_gets_no_patch(story: Any) -> None:
    story.policy("guard", capabilities={"mode": "Learn"}, target={"podSelector": {}})
    await story.look()
    story.pods.away = True
    story.pods.specs["shop", "web-1"] = {"containers": ["web"], "ephemeralContainers": ["shell"]}
    for node in NODES:
        story.tell(node, "guard", state=RUNNING, policy=init("web-1", "shell"))
    for _ in range(3):
        await story.look(10)
    assert 1 <= len(story.pods.read) <= 2, "an API server that is away is asked rarely"
    story.pods.away = False
    for _ in range(2):
        await story.look(31)
    (shell,) = story.status("guard")["capabilities"]["containers"]
    assert (shell["podField"], shell["patch"]) == ("ephemeralContainers", "")


async def test_a_pod_that_crashes_again_and_again_is_one_replica(story: Any) -> None:
    shop = Shop(story)
    shop.ask("Learn", convergence={"minReplicas": 2})
    await story.look()
    await story.look(31)
    shop.learn(nodes=["node-a"], runs=9, replicas=1)
    await shop.look()
    assert condition(story, "Converged")[:2] == ("False", "Learning")
    assert condition(story, "Converged")[2] == "web: 1 pod of 2 were seen"
    assert story.profiles.bodies == {}

    shop.learn(nodes=["node-b"], runs=1, replicas=None)  # an older agent: it may be any number
    await shop.look()
    assert seccomp(story)["containers"][0]["replicas"] is None
    assert condition(story, "Converged")[2] == "web: 1 pod of 2 were seen"

    shop.learn(nodes=["node-b"], runs=1, replicas=1)
    await shop.look()
    assert seccomp(story)["containers"][0]["replicas"] == 2
    assert condition(story, "Converged")[:2] == ("True", "EnoughSeen")


async def test_a_policy_of_the_whole_cluster_has_its_profiles_beside_the_operator(
    story: Any,
) -> None:
    shop = Shop(story, namespace="")
    await shop.enforce()
    shop.learn(pods=2, bound=1, bare=1)
    await shop.look()
    metadata = shop.profile["metadata"]
    assert metadata["namespace"] == "eunomia-system"
    assert metadata["ownerReferences"] == [{"kind": "ClusterSecurityPolicy", "uid": "uid-guard"}]
    (file,) = story.files("node-a")
    assert file.path == "eunomia/eunomia-system/cluster-guard-web.json"
    (profile,) = story.jobs("node-a")[0].learning.profiles
    assert profile.path == file.path
    found = binding_of(shop.profile, "eunomia-system")
    assert found is not None
    assert found.reaches("bank", {})
    assert condition(story, "ProfileReady")[:2] == ("True", "OnAllNodes")
    assert (seccomp(story)["mode"], seccomp(story)["unprotectedPods"]) == ("Enforce", 2)

    shop.ask("Enforce", profile="v7")
    await shop.look()
    assert condition(story, "ProfileReady")[1] == "NoSuchVersion"
    shop.ask("Disabled")
    await shop.look()
    assert binding_of(shop.profile, "eunomia-system") is None


async def test_nobody_elsewhere_can_pass_a_profile_off_as_a_policys_own(story: Any) -> None:
    spec = {"container": "web", "architectures": ["SCMP_ARCH_X86_64"], "version": "v1"}
    owners = [{"kind": "ClusterSecurityPolicy", "uid": "uid-guard"}]
    metadata = {"name": "loose", "namespace": "a-shop", "uid": "uid-loose", "generation": 1}
    loose = {
        "metadata": {**metadata, "ownerReferences": owners},
        "spec": {**spec, "syscalls": ["mount"]},
    }
    story.profiles.bodies["loose"] = loose
    story.control.world.see(Kind.SECCOMP_PROFILES, "ADDED", loose)
    shop = Shop(story, namespace="")
    await shop.enforce()
    assert shop.profile["spec"]["syscalls"] == ["execve", "read", "write"]
    assert seccomp(story)["containers"][0]["hash"] == shop.profile["status"]["sha256"]
