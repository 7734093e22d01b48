# SPDX-License-Identifier: Apache-2.0
"""The whole operator against a mock of the Kubernetes API, with a simulated agent."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import kmock as mock
import pytest
import yaml
from kmock._internal import parsing

from eunomia_api import agent_pb2
from eunomia_api.tracker import Catalogue
from eunomia_operator import __main__ as operator
from eunomia_operator.admission import webhook
from eunomia_operator.admission.replica import Admission
from eunomia_operator.alerts.isolation import label_of
from eunomia_operator.cluster import client
from eunomia_operator.cluster.client import connect
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.world import Kind, Reference, Resource
from eunomia_operator.settings import Settings

JOBS = "eunomia.dev/v1alpha1/tracejobs"
SPEC = {"target": {"podSelector": {}}, "trackers": [{"name": "process"}]}


def metadata(name: str, namespace: str | None = None, **more: Any) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    common = {"uid": f"uid-of-{name}", "generation": 1, "resourceVersion": "1"}
    return {"metadata": {"name": name, **common, **where, **more}}


@pytest.fixture
def _namespaces_have_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """kmock 0.8 takes /api/v1/namespaces for an object in a namespace without a name."""
    parse = parsing.parse_path

    def parsed(path: str) -> parsing.ParsedPath:
        if path == "/api/v1/namespaces":
            return parsing.ParsedPath(group="", version="v1", plural="namespaces")
        return parse(path)

    monkeypatch.setattr(parsing, "parse_path", parsed)


REPORTS = "eunomia.dev/v1alpha1/alertreports"
PROFILES = "eunomia.dev/v1alpha1/seccompprofiles"
NETWORK_POLICIES = "networking.k8s.io/v1/networkpolicies"
LEASE = "coordination.k8s.io/v1/leases"


@pytest.fixture
def api(kmock: Any, review_of: Callable[[str], Any], _namespaces_have_a_path: None) -> Any:
    """An API server with one node, an empty authority, and no jobs."""

    def put_lease(request: Any) -> Any:
        kmock.objects[LEASE, "eunomia", "eunomia-operator"].patch(request.data)
        return request.data

    kmock["put", re.compile(".*/leases/eunomia-operator")] << put_lease
    for resource in (
        JOBS,
        "eunomia.dev/v1alpha1/clustertracejobs",
        "eunomia.dev/v1alpha1/securitypolicies",
        "eunomia.dev/v1alpha1/clustersecuritypolicies",
        PROFILES,
        "v1/nodes",
        "v1/namespaces",
        "v1/events",
        "v1/pods",
        REPORTS,
        NETWORK_POLICIES,
        LEASE,
    ):
        kmock.resources[resource] = {
            "kind": resource.rpartition("/")[2],
            "verbs": ["list", "watch", "patch"],
            "namespaced": resource.rpartition("/")[2] not in ("nodes", "namespaces"),
        }
    kmock.objects["v1/nodes", None, "node-a"] = metadata("node-a", labels={"pool": "web"})
    kmock.objects["v1/namespaces", None, "shop"] = metadata("shop")
    kmock.objects["v1/secrets", "eunomia", "eunomia-ca"] = metadata("eunomia-ca", "eunomia")
    kmock.objects["v1/configmaps", "eunomia", "eunomia-ca"] = metadata("eunomia-ca", "eunomia")
    kmock["post", mock.resource("authentication.k8s.io/v1/tokenreviews")] << (
        lambda request: {"status": review_of(request.data["spec"]["token"])}
    )
    return kmock


@pytest.fixture
def outside(settings: Settings, api: Any, tmp_path: Path, monkeypatch: Any) -> Settings:
    """Settings of an operator outside of the cluster, with a kubeconfig."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": str(api.url).rstrip("/")}}],
                "users": [{"name": "test", "user": {"token": "operator"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    return replace(settings, kubeconfig=path)


@pytest.fixture(autouse=True)
def _catalogue(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalogue, "load", classmethod(lambda _: catalogue))


@asynccontextmanager
async def replica(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    async with connect(settings) as cluster:
        task = asyncio.create_task(operator.Replica(settings, cluster).run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(10):
        while not (found := condition()):
            await asyncio.sleep(0.02)
        return found


def port_of(logs: pytest.LogCaptureFixture) -> int | None:
    for record in logs.records:
        if record.getMessage().startswith("leading; agents are served on port"):
            return int(record.getMessage().rpartition(" ")[2])
    return None


def authority(api: Any) -> bytes:
    bundle = api.objects["v1/configmaps", "eunomia", "eunomia-ca"]["data"]["ca.crt"]
    return str(bundle).encode()


def stored(api: Any, name: str) -> dict[str, Any]:
    return dict(api.objects[JOBS, "shop", name])


async def create(api: Any, name: str, **spec: Any) -> None:
    await post(api, "tracejobs", {**metadata(name, "shop"), "spec": {**SPEC, **spec}})


async def post(api: Any, plural: str, body: dict[str, Any]) -> None:
    path = f"apis/eunomia.dev/v1alpha1/namespaces/shop/{plural}"
    async with aiohttp.ClientSession() as session, session.post(api.url / path, json=body) as done:
        assert done.status < 300, await done.text()


async def test_a_job_from_apply_to_complete(
    api: Any,
    outside: Settings,
    dial: Any,
    make_token: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "eunomia")
    async with replica(outside):
        port = await until(lambda: port_of(caplog))
        agent = await dial(port, authority(api), make_token())
        assert (await agent.hear()).welcome.node_uid == "uid-of-node-a"
        assert list((await agent.hear()).desired_state.jobs) == []
        await create(api, "opens", duration="1s")
        (job,) = await agent.hear_jobs()
        assert (job.name, job.namespace, job.trackers[0].name) == ("opens", "shop", "process")
        running = agent_pb2.JobReport(
            uid=job.uid,
            generation=1,
            state=agent_pb2.JOB_STATE_RUNNING,
            pods=2,
            totals=agent_pb2.Totals(matched=5, delivered=4, lost_kernel=1),
        )
        await agent.report("node-a", running)
        await until(lambda: stored(api, "opens").get("status", {}).get("phase") == "Running")
        await asyncio.sleep(max(0, job.deadline_ms / 1000 - time.time()))
        running.state = agent_pb2.JOB_STATE_FINISHED
        await agent.report("node-a", running)
        await until(lambda: stored(api, "opens")["status"]["phase"] == "Complete")
        assert list((await agent.hear()).desired_state.jobs) == []
        await agent.channel.close()
    job_object = stored(api, "opens")
    assert job_object["status"]["events"] == {
        "matched": 5,
        "delivered": 4,
        "lost": 1,
        "limited": 0,
        "sampledOut": 0,
        "unclassified": 0,
    }
    assert job_object["status"]["completenessPercent"] == 80
    assert "finalizers" not in job_object["metadata"]
    assert "annotations" not in job_object["metadata"]
    events = [dict(event) for key, event in api.objects.items() if key[0].plural == "events"]
    assert [event["reason"] for event in events] == ["Accepted", "Started", "Complete"]
    secret = api.objects["v1/secrets", "eunomia", "eunomia-ca"]["data"]
    assert base64.b64decode(secret["ca.crt"]) == authority(api)


async def test_an_alert_from_its_node_to_the_label_of_the_pod(
    api: Any,
    outside: Settings,
    dial: Any,
    make_token: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "eunomia")
    api.objects["v1/pods", "shop", "web-1"] = metadata("web-1", "shop")
    rule = {"name": "any", "events": ["opensnoop"], "when": "pid > 0", "message": "opened"}
    spec = {
        "target": {"podSelector": {}},
        "rules": {"custom": [{**rule, "response": "Isolate"}]},
    }
    async with replica(outside):
        port = await until(lambda: port_of(caplog))
        agent = await dial(port, authority(api), make_token())
        await agent.hear()
        await post(api, "securitypolicies", {**metadata("guard", "shop"), "spec": spec})
        (job,) = await agent.hear_jobs()
        alert = agent_pb2.Alert(
            id="0123456789abcdef",
            sequence=41,
            policy_uid=job.uid,
            rule="any",
            severity=agent_pb2.SEVERITY_WARNING,
            time_ns=time.time_ns(),
            namespace="shop",
            pod="web-1",
            pod_uid="uid-of-web-1",
        )
        await agent.say(alerts=agent_pb2.Alerts(alerts=[alert]))
        assert (await agent.hear()).alerts_taken.sequence == 41
        report = dict(api.objects[REPORTS, "shop", "guard"])
        assert [each["id"] for each in report["alerts"]] == ["0123456789abcdef"]
        assert report["metadata"]["ownerReferences"][0]["uid"] == "uid-of-guard"
        pod = api.objects["v1/pods", "shop", "web-1"]
        await until(lambda: pod["metadata"].get("labels"))
        told = label_of(Reference("SecurityPolicy", "shop", "guard", "uid-of-guard"))
        assert pod["metadata"]["labels"] == {"eunomia.dev/isolated": told}
        wall = api.objects[NETWORK_POLICIES, "shop", "eunomia-isolated-uid-of-guard"]
        assert wall["spec"]["policyTypes"] == ["Ingress", "Egress"]

        def on_the_pod() -> set[str]:
            events = [
                dict(event) for key, event in api.objects.items() if key[0].plural == "events"
            ]
            return {each["reason"] for each in events if each["involvedObject"]["kind"] == "Pod"}

        await until(lambda: on_the_pod() == {"SecurityWarning", "Isolated"})
        guard = api.objects["eunomia.dev/v1alpha1/securitypolicies", "shop", "guard"]
        await until(lambda: guard["status"]["alerts"]["isolated"] == 1)
        await agent.channel.close()


async def test_a_profile_is_written_so_that_it_goes_with_its_policy(
    api: Any, outside: Settings
) -> None:
    policy = Reference("SecurityPolicy", "shop", "guard", "uid-of-guard")
    spec: dict[str, Any] = {"container": "web", "version": "v1", "syscalls": ["read"]}
    key = PROFILES, "shop", "guard-web"
    async with connect(outside) as cluster:
        made = await cluster.create_profile(policy, ("shop", "guard-web"), spec)
        assert made["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "eunomia.dev/v1alpha1",
                "kind": "SecurityPolicy",
                "name": "guard",
                "uid": "uid-of-guard",
            }
        ]
        seen = Resource("SeccompProfile", "shop", "guard-web", "uid-1", 1, spec, None)
        api.objects[key].patch({"metadata": {"uid": "uid-1"}})  # as an API server does
        await cluster.replace_profile(seen, {**spec, "version": "v2"})
        await cluster.patch_status(seen, {"nodesReady": 1})
        assert [body["spec"] for body in await cluster.list(Kind.SECCOMP_PROFILES)] == [
            {"container": "web", "version": "v2", "syscalls": ["read"]}
        ]
    assert api.objects[key]["status"] == {"nodesReady": 1}


async def test_what_somebody_added_to_a_profile_is_taken_away_and_another_object_stays(
    api: Any, outside: Settings
) -> None:
    def bound(labels: dict[str, str]) -> dict[str, Any]:
        return {"version": "v1", "binding": {"podSelector": {"matchLabels": labels}}}

    edited = {**bound({"app": "web", "tier": "one"}), "defaultAction": "SCMP_ACT_LOG"}
    for name in ("guard-web", "made-anew"):
        api.objects[PROFILES, "shop", name] = {**metadata(name, "shop"), "spec": edited}

    def seen(name: str, uid: str) -> Resource:
        return Resource("SeccompProfile", "shop", name, uid, 1, edited, None)

    async with connect(outside) as cluster:
        wanted = bound({"app": "web"})
        written = await cluster.replace_profile(seen("guard-web", "uid-of-guard-web"), wanted)
        assert written["spec"] == wanted
        with pytest.raises(ClusterError):
            await cluster.replace_profile(seen("made-anew", "uid-of-another"), wanted)
    assert api.objects[PROFILES, "shop", "guard-web"]["spec"] == wanted
    assert api.objects[PROFILES, "shop", "made-anew"]["spec"] == edited


async def test_a_profile_of_the_whole_cluster_lies_beside_the_operator(
    api: Any, outside: Settings
) -> None:
    policy = Reference("ClusterSecurityPolicy", "", "wide", "uid-of-wide")
    async with connect(outside) as cluster:
        await cluster.create_profile(policy, ("eunomia", "cluster-wide-web"), {"version": "v1"})
    made = api.objects[PROFILES, "eunomia", "cluster-wide-web"]
    assert made["metadata"]["ownerReferences"][0]["kind"] == "ClusterSecurityPolicy"


async def test_a_namespace_that_is_not_told_of_in_time_costs_no_pod_its_own_profile(
    api: Any, outside: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.NAMESPACE_CALL_SECONDS < webhook.REVIEW_SECONDS * 0.4
    monkeypatch.setattr(client, "NAMESPACE_CALL_SECONDS", 0.05)

    async def never(_: Any) -> None:
        await asyncio.sleep(30)

    api["get", "/api/v1/namespaces/shop"] << never
    spec = {"container": "web", "version": "v1", "architectures": ["SCMP_ARCH_X86_64"]}
    ready = {"type": "Ready", "status": "True", "reason": "OnAllNodes"}
    ready["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    for namespace, name, where in (
        ("shop", "guard-web", None),
        ("eunomia", "cluster-web", {"matchLabels": {"tier": "one"}}),
    ):
        api.objects[PROFILES, namespace, name] = {
            **metadata(name, namespace),
            "spec": {**spec, "binding": {"podSelector": {}, "namespaceSelector": where}},
            "status": {"localhostProfile": f"{name}.json", "conditions": [ready]},
        }
    async with connect(outside) as cluster:
        admission = Admission(cluster, outside)
        await admission.look_at_profiles()
        assert {each.name for each in admission.bindings} == {"guard-web", "cluster-web"}
        async with asyncio.timeout(webhook.REVIEW_SECONDS):
            assert [each.name for each in await admission.reaching("shop")] == ["guard-web"]


async def test_one_leads_and_the_other_follows_when_it_stops(
    api: Any, outside: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "eunomia")

    def holder() -> Any:
        lease = api.objects[LEASE, "eunomia", "eunomia-operator"]
        return lease["spec"]["holderIdentity"]

    async with replica(replace(outside, identity="two")) as second:
        async with replica(outside):
            await until(lambda: port_of(caplog))
            leader = holder()
        assert leader in ("one", "two")
        if leader == "one":
            await until(lambda: holder() == "two")
        assert not second.done()
    assert holder() == ""


async def test_probes_and_metrics(
    api: Any, outside: Settings, caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    caplog.set_level("INFO", "eunomia")
    settings = replace(outside, http_address=f"127.0.0.1:{unused_tcp_port}")
    url = f"http://{settings.http_address}"
    async with replica(settings), aiohttp.ClientSession() as session:
        await until(lambda: port_of(caplog))
        for path in ("/healthz", "/readyz"):
            async with session.get(url + path) as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get(f"{url}/metrics") as answer:
            assert "eunomia_operator_leader 1.0" in await answer.text()


async def test_an_operator_that_cannot_reach_the_api_server_is_not_ready(
    settings: Settings, tmp_path: Path, api: Any, outside: Settings, unused_tcp_port: int
) -> None:
    assert outside.kubeconfig is not None
    config = yaml.safe_load(outside.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{unused_tcp_port}"
    away = tmp_path / "away"
    away.write_text(yaml.safe_dump(config))
    async with connect(replace(outside, kubeconfig=away)) as cluster:
        one = operator.Replica(replace(outside, kubeconfig=away), cluster)
        assert one.unready() == "the API server does not answer"
        assert one.unhealthy() is None


async def test_an_operator_before_its_kinds_serves_jobs_and_the_next_one_is_not_ready(
    api: Any, outside: Settings, caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    del api.resources["eunomia.dev/v1alpha1/securitypolicies"]
    caplog.set_level("INFO", "eunomia")
    following = replace(outside, identity="two", http_address=f"127.0.0.1:{unused_tcp_port}")
    async with replica(outside):
        await until(lambda: port_of(caplog))
        async with replica(following), aiohttp.ClientSession() as session:

            async def told() -> str:
                try:
                    async with session.get(f"http://{following.http_address}/readyz") as answer:
                        assert answer.status == 503
                        return await answer.text()
                except aiohttp.ClientConnectorError:
                    return ""

            async with asyncio.timeout(20):
                while "CustomResourceDefinition securitypolicies" not in await told():
                    await asyncio.sleep(0.05)
