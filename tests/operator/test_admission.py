# SPDX-License-Identifier: Apache-2.0
import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import pytest

from eunomia_operator import admission, ca, webhook
from eunomia_operator.admission import Admission
from eunomia_operator.errors import AuthorityInvalid, ClusterError

PROFILE: Mapping[str, Any] = {
    "metadata": {"namespace": "shop", "name": "web-nginx"},
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

    async def read_authority(self) -> tuple[dict[str, bytes], str]:
        return self.secret, "1"

    async def list_profiles(self) -> Sequence[Mapping[str, Any]]:
        if self.profiles is None:
            raise ClusterError("GET", "away")
        return self.profiles

    def use(self, authority: ca.Pair) -> None:
        data = ca.Authorities(authority).to_secret()
        self.secret = {name: value for name, value in data.items() if value is not None}


async def test_a_replica_waits_for_an_authority_and_then_serves_with_a_certificate_of_it(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
):
    monkeypatch.setattr(admission, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(admission, "LIST_SECONDS", 0.02)
    store, authority = Store(), ca.make_authority(ca.now())
    serving = Admission(store, ("localhost",), f"127.0.0.1:{unused_tcp_port}")
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


async def test_another_authority_signs_another_certificate_and_the_same_one_does_not():
    store = Store()
    serving = Admission(store, ("localhost",), "127.0.0.1:0")
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
