# SPDX-License-Identifier: Apache-2.0
"""The mutating webhook that binds seccomp profiles to new pods, in every replica.

It answers every review with "allowed": whatever goes wrong here, a pod starts, at worst without
its profile, which the policy's status then tells. See admission.k8s.io/v1 in the Kubernetes API.
"""

import asyncio
import base64
import json
import logging
import os
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from aiohttp import web

from eunomia_operator.admission.binding import Binding, Bound, bind
from eunomia_operator.certificates.ca import Pair
from eunomia_operator.settings import split

logger = logging.getLogger("eunomia.webhook")

PATH = "/bind-seccomp-profiles"
LARGEST_REVIEW = 3 * 1024 * 1024
"""Bytes: what the API server takes of a request, and a review of a new pod holds it once."""
MOST_AT_ONCE = 8
REVIEW_SECONDS = 2.0
"""As in the webhook's configuration: by then the API server waits no more."""
PAUSE = 3
"""So many times as long as a review took does the next one wait: a leader has other work to do."""
MOST_WARNINGS = 8
LONGEST_REASON = 500

Bindings = Callable[[str], Awaitable[Iterable[Binding]]]
"""Returns those that reach a namespace."""
_Done = TypeVar("_Done")


def answer(review: Mapping[str, Any], bindings: Iterable[Binding]) -> dict[str, Any]:
    """Return the AdmissionReview that answers one. Raises KeyError where it has no uid."""
    request = review["request"]
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    bound = _bound(request, bindings)
    if bound.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(bound.patch).encode()).decode()
    if bound.warnings:
        response["warnings"] = bound.warnings[:MOST_WARNINGS]
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _bound(request: Mapping[str, Any], bindings: Iterable[Binding]) -> Bound:
    pod = request.get("object")
    if not isinstance(pod, dict) or request.get("subResource"):
        return Bound()
    try:
        return bind(pod, bindings)
    except Exception:
        # The API server has checked a pod only later than this: any of it may be of another type.
        logger.exception("a pod could not be read, and starts without a profile")
        return Bound(warnings=["eunomia could not read this pod: no seccomp profile was set"])


class _Reviews:
    """Answers whoever asks: API servers show no certificate. So few are answered at once."""

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings
        self._present = 0
        self._turn = asyncio.Lock()

    async def review(self, request: web.Request) -> web.Response:
        """Answer one review."""
        if self._present >= MOST_AT_ONCE:
            raise web.HTTPServiceUnavailable(text="too many reviews at once\n")
        self._present += 1
        try:
            async with asyncio.timeout(REVIEW_SECONDS):
                body = await request.read()
                review, namespace = await self._in_turn(partial(_read, body))
                bindings = await self._bindings(namespace)
                return await self._in_turn(partial(_answered, review, bindings))
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text="that took too long\n") from None
        finally:
            self._present -= 1

    async def _in_turn(self, work: Callable[[], _Done]) -> _Done:
        """Do what takes the process's time, and then leave it to others: nothing here may wait."""
        async with self._turn:
            began = time.monotonic()
            try:
                return work()
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                why = repr(error)[:LONGEST_REASON]
                raise web.HTTPBadRequest(text=f"no AdmissionReview: {why}\n") from None
            finally:
                await asyncio.sleep(PAUSE * (time.monotonic() - began))


def _read(body: bytes) -> tuple[dict[str, Any], str]:
    """Return a review, and the namespace of its pod."""
    review = json.loads(body)
    return review, str(review["request"].get("namespace") or "")


def _answered(review: Mapping[str, Any], bindings: Iterable[Binding]) -> web.Response:
    return web.json_response(answer(review, bindings))


@asynccontextmanager
async def serve(address: str, context: ssl.SSLContext, bindings: Bindings) -> AsyncGenerator[int]:
    """Serve while the context lasts; yield the port."""

    application = web.Application(client_max_size=LARGEST_REVIEW)
    application.add_routes([web.post(PATH, _Reviews(bindings).review)])
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    host, port = split(address)
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def server_context() -> ssl.SSLContext:
    """Return a context without a certificate, which `use` gives it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def use(context: ssl.SSLContext, pair: Pair) -> None:
    """Serve new connections with a certificate. The key touches no disk."""
    # Only files can be loaded; the root file system is read-only, and a key belongs on none.
    descriptor = os.memfd_create("certificate")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(pair.key + pair.certificate)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
