# SPDX-License-Identifier: Apache-2.0
"""What a service manager hears of this process: sd_notify(3), without its library."""

import os
import socket
import sys
from contextlib import suppress

from eunomia_agent.cli.errors import one_line

PLACE = "NOTIFY_SOCKET"
"""The environment variable that names the manager's socket; without it nobody waits."""
PATIENCE_SECONDS = 1.0
"""How long a manager that reads nothing can keep rows from being read."""


def tell_ready() -> None:
    """Say that the start is over. Where nobody takes it, a person is told, and it goes on."""
    try:
        _tell("READY=1")
    except OSError as error:
        why = error.strerror or str(error)
        message = f"{PLACE}={os.environ[PLACE]}: the service manager was not told READY=1: {why}"
        sys.stderr.write(f"eunomia: {one_line(message)}\n")


def tell_stopping() -> None:
    """Say that the end has begun, to who still listens."""
    with suppress(OSError):
        _tell("STOPPING=1")


def _tell(state: str) -> None:
    place = os.environ.get(PLACE, "")
    if not place:
        return
    address = f"\0{place[1:]}" if place.startswith("@") else place  # unix(7): an abstract one
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE_SECONDS)
        manager.sendto(state.encode(), address)
