# SPDX-License-Identifier: Apache-2.0
"""The mutating webhook that binds seccomp profiles to new pods, in every replica.

It answers every review with "allowed": whatever goes wrong here, a pod starts, at worst without
its profile, which the policy's status then tells. See admission.k8s.io/v1 in the Kubernetes API.
"""

import base64
import json
import logging
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from eunomia_operator.binding import Binding, Bound, bind
from eunomia_operator.ca import Pair
from eunomia_operator.settings import split

logger = logging.getLogger("eunomia.webhook")

PATH = "/bind-seccomp-profiles"
LARGEST_REVIEW = 8 * 1024 * 1024
"""Bytes. An object has 1.5 MiB in etcd at most, and a review may hold it twice."""
MOST_WARNINGS = 8

Bindings = Callable[[], Iterable[Binding]]


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
        return bind(pod, str(request.get("namespace") or ""), bindings)
    except Exception:
        # The API server has checked a pod only later than this: any of it may be of another type.
        logger.exception("a pod could not be read, and starts without a profile")
        return Bound(warnings=["eunomia could not read this pod: no seccomp profile was set"])


@asynccontextmanager
async def serve(address: str, context: ssl.SSLContext, bindings: Bindings) -> AsyncGenerator[int]:
    """Serve while the context lasts; yield the port."""

    async def review(request: web.Request) -> web.Response:
        try:
            told = await request.json()
            return web.json_response(answer(told, bindings()))
        except (ValueError, KeyError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"no AdmissionReview: {error!r}\n") from None

    application = web.Application(client_max_size=LARGEST_REVIEW)
    application.add_routes([web.post(PATH, review)])
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
