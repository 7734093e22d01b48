# SPDX-License-Identifier: Apache-2.0
"""What a command asks of Docker's engine. Source: the Docker Engine API, v1.41 and newer."""

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from eunomia_agent.cli.errors import CommandError
from eunomia_agent.cli.runtime import DOCKER
from eunomia_agent.containers import sockets

MAX_ANSWER = 16 << 20
TIMEOUT_SECONDS = 60.0
"""For one answer. To stop a container takes as long as that is given for it, besides."""


class EngineError(CommandError):
    """The engine did not do what it was asked. status: of its answer; 0: there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """An engine behind a unix socket. A connection a question; each raises EngineError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, path: str) -> Any:
        """Return what is asked for."""
        return self._ask("GET", path)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        **query: str,
    ) -> Any:
        """Have something done. timeout: in seconds; None waits for as long as it takes."""
        asked = "&".join(f"{key}={quote(value)}" for key, value in query.items())
        return self._ask("POST", f"{path}?{asked}" if asked else path, body or {}, timeout)

    def delete(self, path: str) -> None:
        """Have something removed."""
        self._ask("DELETE", path)

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> Any:
        connection = _Connection(self._path, timeout)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER)
            found = json.loads(answer) if answer else None
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise EngineError(f"the container engine at {self._path}: {error}") from None
        finally:
            connection.close()
        if response.status < http.client.BAD_REQUEST:
            return found
        told = found.get("message") if isinstance(found, dict) else found
        raise EngineError(f"the container engine says: {told}", response.status)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def engine_of(container_id: str) -> tuple[Engine, Mapping[str, Any]] | None:
    """Return the engine that has a container, and what it tells of it; None where none has."""
    named = os.environ.get(DOCKER)
    for path in [Path(named)] if named else sockets.find(sockets.DOCKER, Path("/")):
        engine = Engine(path)
        try:
            return engine, engine.get(f"/containers/{container_id}/json")
        except EngineError as error:
            if error.status not in (0, http.client.NOT_FOUND):
                raise
    return None
