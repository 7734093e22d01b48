# SPDX-License-Identifier: Apache-2.0
import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from eunomia_api.selector import LabelSelector
from eunomia_operator.admission import webhook
from eunomia_operator.admission.binding import Binding
from eunomia_operator.certificates import ca

EVERY = Binding("shop", "p", LabelSelector(), "nginx", "eunomia/shop/a.json")


def review(pod: object, **request: Any) -> dict[str, Any]:
    return {"request": {"uid": "7", "namespace": "shop", "object": pod, **request}}


def test_the_answer_holds_the_patch():
    answer = webhook.answer(review({"spec": {"containers": [{"name": "nginx"}]}}), [EVERY])
    response = answer["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("7", True, "JSONPatch")
    paths = [each["path"] for each in json.loads(base64.b64decode(response["patch"]))]
    assert paths == [
        "/spec/containers/0/securityContext",
        "/spec/containers/0/securityContext/seccompProfile",
        "/metadata/labels",
        "/metadata/labels/eunomia.dev~1seccomp-profile",
    ]


def test_a_pod_that_cannot_be_read_is_allowed_and_its_maker_told():
    response = webhook.answer(review({"spec": {"containers": ["nginx"]}}), [EVERY])["response"]
    assert response == {
        "uid": "7",
        "allowed": True,
        "warnings": ["eunomia could not read this pod: no seccomp profile was set"],
    }


def test_ephemeral_containers_are_not_looked_at():
    told = review({"spec": {"containers": [{"name": "nginx"}]}}, subResource="ephemeralcontainers")
    assert "patch" not in webhook.answer(told, [EVERY])["response"]


async def every(_: str) -> list[Binding]:
    return [EVERY]


@asynccontextmanager
async def asking(bindings: webhook.Bindings) -> AsyncIterator[Any]:
    """Yield what posts to a webhook that is served, and returns the answer's status."""
    authority = ca.make_authority(ca.now())
    context = webhook.server_context()
    webhook.use(context, ca.issue(authority, ["localhost"], ca.now()))
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())
    async with (
        webhook.serve("127.0.0.1:0", context, bindings) as port,
        aiohttp.ClientSession() as client,
    ):

        async def asked(data: Any) -> int:
            url = f"https://localhost:{port}{webhook.PATH}"
            async with client.post(url, data=data, ssl=trusting) as got:
                return got.status

        yield asked


@pytest.fixture
async def ask() -> AsyncIterator[Any]:
    async with asking(every) as asked:
        yield asked


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b"\xff", 400),
        (b"[]", 400),
        (b"{" + b" " * (3 * 1024 * 1024) + b"}", 413),
        (json.dumps(review({"metadata": {"labels": {"a": "x" * 2_000_000}}})).encode(), 200),
        (json.dumps({"request": {"uid": "7"}}).encode(), 200),
    ],
)
async def test_whoever_asks_gets_a_short_answer(ask: Any, body: bytes, status: int) -> None:
    assert await ask(body) == status


async def test_slow_and_many_reviews_hold_nothing_up_for_long(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "REVIEW_SECONDS", 0.5)

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"request":'
        await asyncio.sleep(1.5)
        yield b'{"uid":"7"}}'

    slow = [asyncio.create_task(ask(slowly())) for _ in range(webhook.MOST_AT_ONCE)]
    await asyncio.sleep(0.3)
    assert await ask(b'{"request":{"uid":"7"}}') == 503
    assert set(await asyncio.gather(*slow)) == {503}
    assert await ask(b'{"request":{"uid":"7"}}') == 200


async def test_what_is_asked_of_the_cluster_for_one_review_holds_up_no_other() -> None:
    async def slowly(_: str) -> list[Binding]:
        await asyncio.sleep(0.5)
        return [EVERY]

    body = json.dumps(review({"spec": {"containers": [{"name": "nginx"}]}}))
    async with asking(slowly) as ask:
        began = time.monotonic()
        found = await asyncio.gather(*(ask(body) for _ in range(webhook.MOST_AT_ONCE)))
        assert found == [200] * webhook.MOST_AT_ONCE
        assert time.monotonic() - began < webhook.REVIEW_SECONDS


async def test_what_cannot_be_read_costs_who_asks_as_much_time_as_what_can(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stalls(*_: object) -> None:
        time.sleep(0.1)
        raise KeyError("uid")

    monkeypatch.setattr(webhook, "answer", stalls)
    began = time.monotonic()
    assert await ask(json.dumps(review({}))) == 400
    assert time.monotonic() - began > 0.1 * (1 + webhook.PAUSE)


async def test_it_serves_with_a_certificate_that_can_be_exchanged_meanwhile():
    authority = ca.make_authority(ca.now())
    context = webhook.server_context()
    webhook.use(context, ca.issue(authority, ["localhost"], ca.now()))
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())
    async with webhook.serve("127.0.0.1:0", context, every) as port:
        url = f"https://localhost:{port}{webhook.PATH}"

        async def ask(told: object) -> tuple[int, bytes]:
            async with (
                aiohttp.ClientSession() as client,
                client.post(url, json=told, ssl=trusting) as got,
            ):
                return got.status, await got.read()

        status, content = await ask(review({"spec": {"containers": [{"name": "nginx"}]}}))
        assert status == 200
        assert json.loads(content)["response"]["patchType"] == "JSONPatch"
        assert (await ask({}))[0] == 400

        first = await asyncio.to_thread(ssl.get_server_certificate, ("localhost", port))
        other = ca.issue(authority, ["localhost"], ca.now())
        webhook.use(context, other)
        second = await asyncio.to_thread(ssl.get_server_certificate, ("localhost", port))
        assert first != second == other.certificate.decode()
        assert (await ask(review({})))[0] == 200
