# SPDX-License-Identifier: Apache-2.0
"""Alerts on their way to the operator."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from eunomia_agent.link.session import Session
from eunomia_agent.link.spool import Spool
from eunomia_api import agent_pb2

ALERTS_A_MESSAGE = 50
SYNC_SECONDS = 1.0
RETRY_SECONDS = 1.0


class Sending:
    """Sends what the spool holds, each alert once a stream, until the operator has taken it in."""

    def __init__(self, spool: Spool, session: Session) -> None:
        """Prepare; on the loop."""
        self._spool = spool
        self._session = session
        self._sent = 0
        self._to_send, self._to_sync = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        spool.on_alert = lambda: _call(loop, self._come)

    def begin(self) -> None:
        """Begin a stream, on which nothing was sent."""
        self._sent = 0
        self._to_send.set()

    async def run(self) -> None:
        """Send, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._sync())

    def _come(self) -> None:
        self._to_send.set()
        self._to_sync.set()

    async def _send(self) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._session.connected and (
                alerts := self._spool.after(self._sent, ALERTS_A_MESSAGE)
            ):
                message = agent_pb2.FromAgent(alerts=agent_pb2.Alerts(alerts=alerts))
                if self._session.send(message):
                    self._sent = alerts[-1].sequence
                else:
                    await asyncio.sleep(RETRY_SECONDS)

    async def _sync(self) -> None:
        while True:
            await self._to_sync.wait()
            self._to_sync.clear()
            await asyncio.to_thread(self._spool.sync)
            await asyncio.sleep(SYNC_SECONDS)
            if self._spool.problem:
                self._to_sync.set()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(function)
