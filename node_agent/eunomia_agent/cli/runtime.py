# SPDX-License-Identifier: Apache-2.0
"""Whom to ask about the containers of this machine."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from eunomia_agent.containers import sockets
from eunomia_agent.containers.runtime import Runtime

CRI, DOCKER = "EUNOMIA_CRI_SOCKET", "EUNOMIA_DOCKER_SOCKET"
"""Environment variables that name a socket; without them the usual places are looked at."""


@asynccontextmanager
async def open_runtime() -> AsyncGenerator[Runtime | None]:
    """Give the container runtimes of this machine; None where none listens."""
    runtime = sockets.open_runtime(cri=_named(CRI), docker=_named(DOCKER))
    try:
        yield runtime
    finally:
        if runtime is not None:
            await runtime.close()


def listening() -> list[Path]:
    """Return the sockets that runtimes listen on, as far as they are known."""
    named = [path for path in (_named(CRI), _named(DOCKER)) if path is not None]
    return named or sockets.find((*sockets.CRI, *sockets.DOCKER), Path("/"))


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value) if value else None
