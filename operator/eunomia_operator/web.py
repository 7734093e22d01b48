# SPDX-License-Identifier: Apache-2.0
"""/healthz, /readyz and /metrics, in every replica."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from eunomia_operator.settings import split

Check = Callable[[], str | None]
"""Returns what is wrong; None when nothing is."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve(
    address: str, registry: CollectorRegistry, healthy: Check, ready: Check
) -> AsyncGenerator[int]:
    """Serve while the context lasts; yield the port."""

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(registry), headers=headers)

    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", _probe(healthy)),
            web.get("/readyz", _probe(ready)),
            web.get("/metrics", metrics),
        ]
    )
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    host, port = split(address)
    site = web.TCPSite(runner, host, port)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _probe(check: Check) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        if wrong is None:
            return web.Response(text="ok\n")
        return web.Response(text=f"{wrong}\n", status=503)

    return answer
