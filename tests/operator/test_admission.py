# SPDX-License-Identifier: Apache-2.0
import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from eunomia_operator.admission import replica as admission
from eunomia_operator.admission import webhook
from eunomia_operator.admission.replica import Admission
from eunomia_operator.certificates import ca
from eunomia_operator.errors import AuthorityInvalid, ClusterError
from eunomia_operator.settings import Settings

PROFILE: Mapping[str, Any] = {
    "metadata": {"namespace": "shop", "name": "web-nginx", "resourceVersion": "1"},
    "spec": {
        "container": "nginx",
        "architectures": ["SCMP_ARCH_X86_64"],
        "version": "v1",
        "binding": {"podSelector": {}},
    },
    "status": {
        "localhostProfile": "eunomia/shop/web-nginx.json",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Lies",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    },
}
SETTINGS = Settings("eunomia-system", "one", webhook_address="127.0.0.1:0")
REVIEW = {
    "request": {
        "uid": "7",
        "namespace": "shop",
        "object": {"spec": {"containers": [{"name": "nginx"}]}},
    }
}


class Store:
    def __init__(self) -> None:
        self.secret: dict[str, bytes] = {}
        self.profiles: list[Mapping[str, Any]] | None = [PROFILE]
        self.read: list[str] = []
        self.namespaces: dict[str, Any] = {"shop": None, "bank": {"tier": "one"}}

    async def read_authority(self) -> tuple[dict[str, bytes], str]:
        return self.secret, "1"

    async def list_profiles(self) -> Sequence[Mapping[str, Any]]:
        if self.profiles is None:
            raise ClusterError("GET", "away")
        return [{"metadata": each["metadata"]} for each in self.profiles]

    async def read_profile(self, namespace: str, name: str) -> Mapping[str, Any]:
        self.read.append(name)
        for each in self.profiles or ():
            if (each["metadata"]["namespace"], each["metadata"]["name"]) == (namespace, name):
                return each
        raise ClusterError("GET", "not found", 404)

    async def read_namespace(self, name: str) -> Mapping[str, Any]:
        self.read.append(name)
        if name not in self.namespaces:
            raise ClusterError("GET", "not found", 404)
        return {"metadata": {"name": name, "labels": self.namespaces[name]}}

    def use(self, authority: ca.Pair) -> None:
        data = ca.Authorities(authority).to_secret()
        self.secret = {name: value for name, value in data.items() if value is not None}


async def test_a_replica_waits_for_an_authority_and_then_serves_with_a_certificate_of_it(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(admission, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(admission, "LIST_SECONDS", 0.02)
    store, authority = Store(), ca.make_authority(ca.now())
    serving = Admission(store, replace(SETTINGS, webhook_address=f"127.0.0.1:{unused_tcp_port}"))
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())

    async def patched() -> bool:
        url = f"https://localhost:{unused_tcp_port}{webhook.PATH}"
        async with (
            aiohttp.ClientSession() as client,
            client.post(url, json=REVIEW, ssl=trusting) as got,
        ):
            return "patch" in (await got.json())["response"]

    task = asyncio.create_task(serving.run())
    try:
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientError):
            await patched()
        store.use(authority)
        await asyncio.sleep(0.1)
        assert await patched()
        store.profiles = None  # the API server is away: what was known is bound
        await asyncio.sleep(0.1)
        assert await patched()
        store.profiles = []
        await asyncio.sleep(0.1)
        assert not await patched()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_another_authority_signs_another_certificate_and_the_same_one_does_not() -> None:
    store = Store()
    serving = Admission(store, SETTINGS)
    with pytest.raises(AuthorityInvalid):
        await serving.look_at_certificate()
    store.use(ca.make_authority(ca.now()))
    await serving.look_at_certificate()
    first = serving.certificate
    await serving.look_at_certificate()
    assert serving.certificate is first
    store.use(ca.make_authority(ca.now()))
    await serving.look_at_certificate()
    assert serving.certificate is not first


async def test_a_certificate_is_made_anew_after_half_of_its_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, begin = Store(), ca.now()
    store.use(ca.make_authority(begin))
    serving = Admission(store, replace(SETTINGS, webhook_certificate_life=timedelta(seconds=40)))
    served: list[bytes] = []
    for seconds in range(0, 57, 8):
        monkeypatch.setattr(ca, "now", lambda after=seconds: begin + timedelta(seconds=after))
        await serving.look_at_certificate()
        assert serving.certificate is not None
        served.append(serving.certificate.certificate)
    assert [served.count(each) for each in dict.fromkeys(served)] == [3, 3, 2]


async def test_a_profile_is_read_again_only_once_it_has_changed() -> None:
    store = Store()
    serving = Admission(store, SETTINGS)

    def other(name: str, version: str) -> Mapping[str, Any]:
        metadata = {"namespace": "shop", "name": name, "resourceVersion": version}
        return {**PROFILE, "metadata": metadata}

    store.profiles = [PROFILE, other("web-php", "2")]
    for _ in range(3):
        await serving.look_at_profiles()
    assert store.read == ["web-nginx", "web-php"]
    store.profiles = [PROFILE, {**other("web-php", "3"), "status": {}}]
    await serving.look_at_profiles()
    assert store.read[2:] == ["web-php"]
    assert [each.name for each in serving.bindings] == ["web-nginx"]
    store.profiles = None
    with pytest.raises(ClusterError):
        await serving.look_at_profiles()
    assert [each.name for each in serving.bindings] == ["web-nginx"]
    store.profiles = []
    await serving.look_at_profiles()
    assert serving.bindings == []


async def test_a_profile_that_goes_while_it_is_read_keeps_no_other_from_being_bound() -> None:
    class Late(Store):
        async def list_profiles(self) -> Sequence[Mapping[str, Any]]:
            gone = {"namespace": "shop", "name": "gone", "resourceVersion": "9"}
            return [{"metadata": gone}, {"metadata": PROFILE["metadata"]}]

    serving = Admission(Late(), SETTINGS)
    await serving.look_at_profiles()
    assert [each.name for each in serving.bindings] == ["web-nginx"]


def wide(name: str, selector: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = {**PROFILE["spec"], "binding": {"podSelector": {}, "namespaceSelector": selector}}
    metadata = {"namespace": "eunomia-system", "name": name, "resourceVersion": "1"}
    return {**PROFILE, "metadata": metadata, "spec": spec}


async def test_a_namespaces_labels_are_asked_for_only_where_a_profile_goes_by_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    serving = Admission(store, SETTINGS)

    async def reaching(namespace: str) -> list[str]:
        return [each.name for each in await serving.reaching(namespace)]

    store.profiles = [PROFILE, wide("cluster-all", {})]
    await serving.look_at_profiles()
    store.read.clear()
    assert await reaching("shop") == ["web-nginx", "cluster-all"]
    assert await reaching("bank") == ["cluster-all"]
    assert store.read == []

    store.profiles.append(wide("cluster-one", {"matchLabels": {"tier": "one"}}))
    await serving.look_at_profiles()
    store.read.clear()
    for _ in range(3):
        assert await reaching("bank") == ["cluster-all", "cluster-one"]
        assert await reaching("shop") == ["web-nginx", "cluster-all"]
    assert store.read == ["bank", "shop"], "once in two seconds"
    assert await reaching("gone") == ["cluster-all"]
    assert await reaching("../secrets") == ["cluster-all"]
    assert store.read[2:] == ["gone"]

    monkeypatch.setattr(admission, "LIST_SECONDS", 0.0)
    store.namespaces["bank"] = {"tier": "two"}
    assert await reaching("bank") == ["cluster-all"]


async def test_pods_that_come_at_once_wait_for_one_answer_though_the_first_gives_up() -> None:
    class Slow(Store):
        async def read_namespace(self, name: str) -> Mapping[str, Any]:
            found = await super().read_namespace(name)
            await asyncio.sleep(0.1)
            return found

    store = Slow()
    serving = Admission(store, SETTINGS)
    store.profiles = [wide("cluster-one", {"matchLabels": {"tier": "one"}})]
    await serving.look_at_profiles()
    store.read.clear()
    first, *others = [asyncio.create_task(serving.reaching("bank")) for _ in range(8)]
    await asyncio.sleep(0.02)
    first.cancel()
    found = await asyncio.gather(*others)
    assert [[each.name for each in bindings] for bindings in found] == [["cluster-one"]] * 7
    assert store.read == ["bank"]
