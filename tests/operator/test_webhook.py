# SPDX-License-Identifier: Apache-2.0
import asyncio
import base64
import json
import ssl
from typing import Any

import aiohttp

from eunomia_api.selector import LabelSelector
from eunomia_operator import ca, webhook
from eunomia_operator.binding import Binding

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


async def test_it_serves_with_a_certificate_that_can_be_exchanged_meanwhile():
    authority = ca.make_authority(ca.now())
    context = webhook.server_context()
    webhook.use(context, ca.issue(authority, ["localhost"], ca.now()))
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())
    async with webhook.serve("127.0.0.1:0", context, lambda: [EVERY]) as port:
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
