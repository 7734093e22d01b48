# SPDX-License-Identifier: Apache-2.0
"""Pods that are cut off the network: which, how many, and how they are let back."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from eunomia_api import agent_pb2, message
from eunomia_api.library import Library
from eunomia_api.tracker import Catalogue
from eunomia_operator.accounting.records import Slots
from eunomia_operator.alerts import alert as alerts
from eunomia_operator.alerts import isolator
from eunomia_operator.alerts.isolation import (
    LABEL,
    MADE_FOR,
    MOST_PODS,
    MOST_WAITING,
    PENDING,
    PODS,
    Queue,
    Request,
    Ward,
    label_of,
    network_policy,
    ward_of,
)
from eunomia_operator.alerts.isolator import Isolator
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.policy import Policy, Terms
from eunomia_operator.objects.world import Reference, Resource
from eunomia_operator.status.news import News

GUARD = label_of(Reference("SecurityPolicy", "shop", "guard", "uid-of-guard"))
SPARED = ("eunomia-system", "kube-system")


class Pods:
    """Pods and NetworkPolicies in the API server."""

    def __init__(self) -> None:
        self.labels: dict[tuple[str, str], dict[str, str]] = {}
        self.nodes: dict[tuple[str, str], str] = {}
        self.wards: dict[tuple[str, str], dict[str, Any]] = {}
        self.away = False
        self.broken: dict[str, int] = {}
        """Pods that cannot be patched, with what the API server answers."""
        self.asked: list[tuple[str, str]] = []

    def add(self, name: str, namespace: str = "shop", node: str = "node-a") -> None:
        self.labels[namespace, name] = {}
        self.nodes[namespace, name] = node

    def _answer(self) -> None:
        if self.away:
            raise ClusterError("call", "no answer")

    async def list_wards(self) -> list[dict[str, Any]]:
        self._answer()
        return list(self.wards.values())

    async def put_ward(self, body: dict[str, Any]) -> None:
        self._answer()
        self.wards[body["metadata"]["namespace"], body["metadata"]["name"]] = body

    async def delete_ward(self, namespace: str, name: str) -> None:
        self._answer()
        if self.wards.pop((namespace, name), None) is None:
            raise ClusterError("delete", "not found", 404)

    async def label_pod(self, pod: Reference, label: str, value: str, *, node: str) -> bool:
        key = self._found(pod)
        if node != self.nodes[key]:
            raise ClusterError("patch", "may not change", 422)
        self.labels[key][label] = value
        return pod.name != "on-the-node"

    async def relabel_pod(self, pod: Reference, label: str, before: str, after: str | None) -> None:
        key = self._found(pod)
        if self.labels[key].get(label) != before:
            raise ClusterError("patch", "the test failed", 422)
        if after is None:
            del self.labels[key][label]
        else:
            self.labels[key][label] = after

    def _found(self, pod: Reference) -> tuple[str, str]:
        self._answer()
        key = pod.namespace, pod.name
        self.asked.append(key)
        if pod.name in self.broken:
            raise ClusterError("patch", "says a webhook", self.broken[pod.name])
        if key not in self.labels:
            raise ClusterError("patch", "not found", 404)
        if pod.uid != f"uid-of-{pod.name}":
            raise ClusterError("patch", "may not change", 422)
        return key


class Scene:
    """A policy, and the one that cuts pods off for it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.terms = Terms(catalogue, Library({}), SPARED)
        self.pods = Pods()
        self.said: list[tuple[str, str]] = []
        self.noted: list[tuple[str, str, str]] = []
        self.known: dict[str, Policy] | None = {}
        self.isolator = self.fresh()

    def fresh(self) -> Isolator:
        def tell(about: Reference, news: News, _: float) -> None:
            self.said.append((f"{about.kind} {about.name}", news.reason))

        return Isolator(self.pods, tell, SPARED)

    def policy(self, *, namespace: str = "shop", name: str = "guard", **spec: Any) -> Policy:
        rule = {
            "name": "shadow",
            "events": ["opensnoop"],
            "when": 'path == "/etc/shadow"',
            "message": "m",
            "severity": "alert",
        }
        written = {
            "target": {"podSelector": {}},
            "rules": {"custom": [rule]},
            "response": {"alert": "Isolate", "maxPodsPerMinute": 100},
            **spec,
        }
        kind = "SecurityPolicy" if namespace else "ClusterSecurityPolicy"
        seen = Resource(kind, namespace, name, f"uid-of-{name}", 1, written, {})
        policy = Policy(seen, self.terms, Slots())
        assert policy.accepted is not None, policy.verdict
        assert self.known is not None
        self.known[seen.uid] = policy
        return policy

    def ask(self, policy: Policy, pod: str, namespace: str = "shop", **changes: Any) -> None:
        told = agent_pb2.Alert(
            **{
                "id": f"alert-of-{pod}",
                "rule": "shadow",
                "severity": agent_pb2.SEVERITY_ALERT,
                "namespace": namespace,
                "pod": pod,
                "pod_uid": f"uid-of-{pod}",
                **changes,
            }
        )
        alert = alerts.read(told, "node-a", "", {"shadow"}, time.time())
        assert alert is not None
        self.isolator.ask(policy, alert, time.time())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        work = self.isolator.run(lambda: self.known, lambda *what: self.noted.append(what))
        task = asyncio.ensure_future(work)
        try:
            yield
        finally:
            task.cancel()

    async def settle(self) -> None:
        await asyncio.sleep(0.1)

    def cut_off(self) -> set[str]:
        return {name for (_, name), labels in self.pods.labels.items() if LABEL in labels}


@pytest.fixture
def scene(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(isolator, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(isolator, "RETRY_SECONDS", 0.01)
    return Scene(catalogue)


async def test_a_pod_is_labelled_behind_a_wall_and_let_back_when_the_policy_goes(
    scene: Scene,
) -> None:
    policy = scene.policy()
    scene.pods.add("web-1")
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
        assert scene.pods.labels["shop", "web-1"] == {LABEL: GUARD}
        (wall,) = scene.pods.wards.values()
        assert wall["spec"] == {
            "podSelector": {"matchLabels": {LABEL: GUARD}},
            "policyTypes": ["Ingress", "Egress"],
        }
        assert wall["metadata"]["ownerReferences"][0]["uid"] == "uid-of-guard"
        assert scene.noted == [("uid-of-guard", "alert-of-web-1", "Isolated")]
        assert policy.isolated == 1
        assert {("Pod web-1", "Isolated"), ("SecurityPolicy guard", "Isolated")} <= set(scene.said)
        scene.known = {}
        await scene.settle()
    assert (scene.cut_off(), scene.pods.wards) == (set(), {})


@pytest.mark.parametrize("spec", [{"mode": "DryRun"}, {"response": {"alert": "Report"}}])
async def test_an_edit_undoes_it_also_when_no_operator_was_there(
    scene: Scene, spec: dict[str, Any]
) -> None:
    policy = scene.policy()
    scene.pods.add("web-1")
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
    assert scene.cut_off() == {"web-1"}
    scene.isolator = scene.fresh()
    scene.policy(**spec)
    async with scene.running():
        await scene.settle()
    assert (scene.cut_off(), scene.pods.wards) == (set(), {})


async def test_nothing_is_let_back_before_it_is_known_which_policies_there_are(
    scene: Scene,
) -> None:
    policy = scene.policy()
    scene.pods.add("web-1")
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
    scene.isolator = scene.fresh()
    scene.known = None
    async with scene.running():
        await scene.settle()
    assert scene.cut_off() == {"web-1"}


async def test_who_removes_the_label_has_the_last_word(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = scene.policy()
    scene.pods.add("web-1")
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
        scene.pods.labels["shop", "web-1"].clear()
        scene.ask(policy, "web-1")
        await scene.settle()
    scene.isolator = scene.fresh()
    scene.ask(policy, "web-1")  # before it is known what the last leader did
    async with scene.running():
        await scene.settle()
        scene.ask(policy, "web-1")
        later = time.time() + 61
        monkeypatch.setattr(isolator, "_now", lambda: later)
        await scene.settle()
        assert (scene.cut_off(), policy.isolated) == (set(), 1)
        scene.known = {}
        await scene.settle()
    assert scene.pods.wards == {}
    assert ("Pod web-1", "NotLetBack") not in scene.said


async def test_a_dry_run_tells_what_it_would_do(scene: Scene) -> None:
    policy = scene.policy(mode="DryRun")
    scene.pods.add("web-1")
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
    assert (scene.cut_off(), scene.pods.wards) == (set(), {})
    assert scene.said == [("Pod web-1", "WouldIsolate"), ("SecurityPolicy guard", "WouldIsolate")]


async def test_no_more_pods_a_minute_than_allowed(scene: Scene) -> None:
    policy = scene.policy(response={"alert": "Isolate", "maxPodsPerMinute": 3})
    async with scene.running():
        for number in range(10):
            scene.pods.add(f"web-{number}")
            scene.ask(policy, f"web-{number}")
        await scene.settle()
    assert scene.cut_off() == {"web-0", "web-1", "web-2"}


async def test_a_new_leader_does_not_begin_the_minute_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = scene.policy(response={"alert": "Isolate"})
    for name in ("web-1", "web-2"):
        scene.pods.add(name)
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
    scene.isolator = scene.fresh()
    async with scene.running():
        await scene.settle()
        scene.ask(policy, "web-2")
        await scene.settle()
        assert scene.cut_off() == {"web-1"}
        later = time.time() + 61
        monkeypatch.setattr(isolator, "_now", lambda: later)
        await scene.settle()
    assert scene.cut_off() == {"web-1", "web-2"}


@pytest.mark.parametrize("namespace", SPARED)
async def test_what_keeps_the_cluster_going_is_never_cut_off(scene: Scene, namespace: str) -> None:
    policy = scene.policy(namespace="", name="all")
    scene.pods.add("dns", namespace)
    async with scene.running():
        scene.ask(policy, "dns", namespace)
        await scene.settle()
    assert (scene.cut_off(), scene.pods.wards) == (set(), {})
    assert ("Pod dns", "NotIsolated") in scene.said


async def test_a_node_cannot_cut_off_the_pods_of_another(scene: Scene) -> None:
    policy = scene.policy()
    scene.pods.add("theirs", node="node-b")
    async with scene.running():
        scene.ask(policy, "theirs")
        await scene.settle()
        assert scene.cut_off() == set()
        assert ("SecurityPolicy guard", "NotIsolated") in scene.said
        # What was refused does not stand in the way of what is true.
        scene.pods.nodes["shop", "theirs"] = "node-a"
        scene.ask(policy, "theirs")
        await scene.settle()
    assert scene.cut_off() == {"theirs"}


async def test_a_pod_that_is_gone_or_another_by_now_is_left_alone(scene: Scene) -> None:
    policy = scene.policy()
    scene.pods.add("web-1")
    async with scene.running():
        scene.ask(policy, "gone")
        scene.ask(policy, "web-1", pod_uid="of-another")
        await scene.settle()
        assert scene.cut_off() == set()
        scene.ask(policy, "web-1")
        await scene.settle()
        assert scene.cut_off() == {"web-1"}
        del scene.pods.labels["shop", "web-1"]
        scene.known = {}
        await scene.settle()
    assert scene.pods.wards == {}


async def test_an_api_server_that_is_away_is_asked_again(scene: Scene) -> None:
    policy = scene.policy()
    scene.pods.add("web-1")
    scene.pods.away = True
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
        scene.pods.away = False
        await scene.settle()
        assert scene.cut_off() == {"web-1"}
        scene.pods.away = True
        scene.known = {}
        await scene.settle()
        scene.pods.away = False
        await scene.settle()
    assert (scene.cut_off(), scene.pods.wards) == (set(), {})


async def test_a_pod_on_the_network_of_its_node_is_said_to_be(scene: Scene) -> None:
    told: list[str] = []
    scene.isolator = Isolator(scene.pods, lambda _, news, __: told.append(news.message), SPARED)
    policy = scene.policy()
    scene.pods.add("on-the-node")
    async with scene.running():
        scene.ask(policy, "on-the-node")
        await scene.settle()
    assert "it uses the node's network, which stays open" in told[0]


def test_so_many_in_any_minute_and_no_more_waiting_than_there_is_room_for() -> None:
    queue = Queue()
    for number in range(MOST_WAITING + 50):
        pod = Reference("Pod", "shop", f"web-{number}", f"uid-{number}")
        queue.put(Request(pod, "node-a", "rule", "id"))
        queue.put(Request(pod, "node-a", "rule", "id"))
    taken = [now for now in range(600) if queue.take(2, float(now))]
    assert taken == [start + each for start in range(0, 600, 60) for each in (0, 1)]
    everything = sum(queue.take(1000, 1000.0) is not None for _ in range(200))
    assert everything == MOST_WAITING - len(taken)


def test_what_the_api_server_lets_through_is_what_is_sent() -> None:
    manifest = Path(__file__).parents[2] / "manifests/base/isolation.yaml"
    bodies = list(yaml.safe_load_all(manifest.read_text()))
    on_pods, on_walls = (
        " ".join(each["expression"] for each in body["spec"]["validations"])
        for body in bodies
        if body["kind"] == "ValidatingAdmissionPolicy"
    )
    assert f"key == '{LABEL}'" in on_pods
    assert all(f"'{namespace}'" in on_pods for namespace in message.SPARED)
    ours = network_policy(Reference("SecurityPolicy", "shop", "guard", "u"), Ward("u", "shop", "p"))
    assert cast(Any, ours)["metadata"]["name"].startswith("eunomia-isolated-")
    assert "request.name.startsWith('eunomia-isolated-')" in on_walls
    assert f"'{LABEL}' in object.spec.podSelector.matchLabels" in on_walls
    bound = [body["spec"]["policyName"] for body in bodies if body["kind"].endswith("Binding")]
    assert len(bound) == len(set(bound)) == 2


@pytest.mark.parametrize("name", ["guard", "x" * 253, "a." * 40])
def test_labels_tell_policies_apart_also_those_of_one_name(name: str) -> None:
    labels = {
        label_of(Reference("SecurityPolicy", "shop", name, "u")),
        label_of(Reference("SecurityPolicy", "shop", name, "of one made later")),
        label_of(Reference("ClusterSecurityPolicy", "", name, "u")),
    }
    assert len(labels) == 3
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?", each) for each in labels)


def wall(policy: str, pods: object, **metadata: Any) -> dict[str, Any]:
    """A NetworkPolicy as anybody may write it."""
    return {
        "metadata": {
            "name": f"eunomia-isolated-{policy}",
            "namespace": "shop",
            "labels": {MADE_FOR: policy},
            "annotations": {PODS: pods if isinstance(pods, str) else json.dumps(pods)},
            "ownerReferences": [{"kind": "SecurityPolicy", "name": "guard", "uid": policy}],
            **metadata,
        }
    }


HOSTILE = [
    "[" * 100_000,
    '{"a":' * 30_000,
    "x" * 250_000,
    "[]",
    "1",
    {"u": ""},
    {"u": "../../victims/pods/web"},
    {"u": "web/log"},
    {"u": "web?dryRun=All"},
    {"u": "a..b"},
    {"u": "x" * 254},
    {"u": 7},
    {"": "web"},
    {"../u": "web"},
    {"x" * 200: "web"},
]


@pytest.mark.parametrize("pods", HOSTILE)
async def test_what_others_write_on_a_wall_stops_nothing_and_leads_nowhere(
    scene: Scene, pods: object
) -> None:
    hostile = wall("aaa", pods)
    scene.pods.wards["shop", hostile["metadata"]["name"]] = hostile
    scene.pods.wards["shop", "broken"] = {"metadata": {"labels": {MADE_FOR: "b"}}}
    scene.pods.add("web-1")
    scene.pods.labels["shop", "web-1"][LABEL] = GUARD
    honest = wall("uid-of-guard", {"uid-of-web-1": "web-1"})
    scene.pods.wards["shop", honest["metadata"]["name"]] = honest
    scene.pods.wards["shop", "copied"] = wall("uid-of-guard", {}, name="copied")
    async with scene.running():
        await scene.settle()
    assert scene.cut_off() == set()
    assert scene.pods.asked == [("shop", "web-1")]


def test_as_many_pods_are_remembered_as_there_is_room_for() -> None:
    policy = Reference("SecurityPolicy", "shop", "guard", "u")
    ward = Ward("u", "shop", label_of(policy))
    for number in range(MOST_PODS + 100):
        ward.add(Reference("Pod", "shop", f"{number}{'x' * 240}", f"{number:0120}"))
    assert len(ward.pods) == len(ward.pending) == MOST_PODS
    assert f"{MOST_PODS + 99:0120}" in ward.pods
    assert ward_of(cast(Any, network_policy(policy, ward))) == ward


@pytest.mark.parametrize(
    ("pods", "read"),
    [
        ({f"u{number}": "web" for number in range(MOST_PODS + 100)}, MOST_PODS),
        ({f"u{number}": "x" * 200 for number in range(1000)}, 0),
    ],
)
def test_nobody_makes_more_pods_remembered_than_that(pods: dict[str, str], read: int) -> None:
    annotations = {PODS: json.dumps(pods), PENDING: json.dumps(["u599", "nobody"])}
    ward = ward_of(wall("aaa", {}, annotations=annotations))
    assert ward is not None
    assert len(ward.pods) == read
    assert ward.pending == ({"u599"} if read else set())


async def test_a_wall_that_no_policy_owns_is_not_ours(scene: Scene) -> None:
    scene.pods.add("web-1")
    foreign = wall("aaa", {"uid-of-web-1": "web-1"}, ownerReferences=[{"uid": "another"}])
    scene.pods.wards["shop", foreign["metadata"]["name"]] = foreign
    async with scene.running():
        await scene.settle()
    assert (scene.pods.asked, len(scene.pods.wards)) == ([], 1)


@pytest.mark.parametrize("status", [0, 403, 405, 500])
async def test_a_pod_that_cannot_be_let_back_keeps_no_other_one(scene: Scene, status: int) -> None:
    for name in ("bad", "good", "other"):
        scene.pods.add(name)
    guard, other = scene.policy(), scene.policy(name="second")
    async with scene.running():
        scene.ask(guard, "bad")
        scene.ask(guard, "good")
        scene.ask(other, "other")
        await scene.settle()
        assert scene.cut_off() == {"bad", "good", "other"}
        scene.pods.broken["bad"] = status
        scene.known = {}
        await scene.settle()
        assert scene.cut_off() == {"bad"}
        assert (("Pod bad", "NotLetBack") in scene.said) == (status in (403, 405))
        scene.pods.broken.clear()
        await scene.settle()
    assert scene.cut_off() == ({"bad"} if status in (403, 405) else set())
    assert scene.pods.wards == {}


@pytest.mark.parametrize(("status", "asked"), [(0, 3), (500, 5)])
async def test_an_api_server_that_is_away_is_not_asked_for_pod_after_pod(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, status: int, asked: int
) -> None:
    policy, names = scene.policy(), [f"web-{number}" for number in range(5)]
    for name in names:
        scene.pods.add(name)
    async with scene.running():
        for name in names:
            scene.ask(policy, name)
            await scene.settle()
        assert scene.cut_off() == set(names)
        monkeypatch.setattr(isolator, "RETRY_SECONDS", 60)
        scene.pods.broken = dict.fromkeys(names, status)
        scene.pods.asked.clear()
        scene.known = {}
        await scene.settle()
    assert len(scene.pods.asked) == asked


async def test_a_pod_that_two_policies_cut_off_is_let_back_by_the_last(scene: Scene) -> None:
    scene.pods.add("web-1")
    first, second = scene.policy(), scene.policy(name="second")
    async with scene.running():
        scene.ask(first, "web-1")
        await scene.settle()
        scene.ask(second, "web-1")
        await scene.settle()
        behind_second = label_of(second.object.reference)
        assert scene.pods.labels["shop", "web-1"] == {LABEL: behind_second}
        assert scene.known is not None
        del scene.known["uid-of-second"]
        await scene.settle()
        assert scene.pods.labels["shop", "web-1"] == {LABEL: GUARD}
        assert ("Pod web-1", "LetBack") not in scene.said
        scene.known = {}
        await scene.settle()
    assert (scene.cut_off(), scene.pods.wards) == (set(), {})
    assert scene.said.count(("Pod web-1", "LetBack")) == 1


async def test_a_label_that_is_of_another_policy_is_not_removed(scene: Scene) -> None:
    scene.pods.add("web-1")
    first, second = scene.policy(), scene.policy(name="second")
    async with scene.running():
        scene.ask(first, "web-1")
        await scene.settle()
        scene.ask(second, "web-1")
        await scene.settle()
        assert scene.known is not None
        del scene.known["uid-of-guard"]
        await scene.settle()
    assert scene.cut_off() == {"web-1"}
    assert [name for _, name in scene.pods.wards] == ["eunomia-isolated-uid-of-second"]


async def test_a_pod_whose_label_a_leader_did_not_get_to_is_labelled_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = scene.policy()
    scene.pods.add("web-1")
    scene.pods.broken["web-1"] = 0
    async with scene.running():
        scene.ask(policy, "web-1")
        await scene.settle()
    assert len(scene.pods.wards) == 1
    scene.pods.broken.clear()
    scene.isolator = scene.fresh()
    scene.ask(policy, "web-1")
    later = time.time()
    monkeypatch.setattr(isolator, "_now", lambda: later)
    async with scene.running():
        await scene.settle()
        assert scene.cut_off() == set()
        later += 61
        await scene.settle()
    assert scene.cut_off() == {"web-1"}
