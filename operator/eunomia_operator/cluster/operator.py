# SPDX-License-Identifier: Apache-2.0
"""Runs kopf's operator in a thread of its own, with an event loop of its own.

kopf takes over the signals of the loop that it runs on, and when it ends it cancels every task
there; neither may happen to the streams and to the Lease.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any, cast

import kopf

from eunomia_operator.cluster.watch import See, make_registry
from eunomia_operator.errors import OperatorError
from eunomia_operator.objects.world import Body, Kind

logger = logging.getLogger("eunomia.watch")


class _Backoffs:
    """Delays between attempts: an API server that is away is waited for, however long."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2)
        while True:
            yield 3


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 5
    return settings


async def watch(see: See, identity: str, *, with_kubeconfig: bool) -> None:
    """Watch until cancelled; `see` is called on the loop of the caller.

    identity: a name for kopf, which would else look for a user and a host name.

    Raises OperatorError when kopf gives up.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    stop = threading.Event()
    failure: BaseException | None = None

    def hand_over(kind: Kind, event: str | None, body: Body) -> None:
        if not stop.is_set():
            # Only what can be told apart from a view on kopf's own memory may leave the thread.
            loop.call_soon_threadsafe(see, kind, event, dict(body))

    def run() -> None:
        nonlocal failure
        try:
            kopf.run(
                registry=make_registry(hand_over, with_kubeconfig=with_kubeconfig),
                settings=_settings(),
                clusterwide=True,
                standalone=True,
                identity=cast(Any, identity),
                stop_flag=stop,
            )
        except BaseException as error:
            failure = error
        finally:
            if not stop.is_set():
                loop.call_soon_threadsafe(ended.set)

    thread = threading.Thread(target=run, name="kopf", daemon=True)
    thread.start()
    try:
        await ended.wait()
    finally:
        stop.set()
    raise OperatorError("the watch of the Kubernetes API ended") from failure
