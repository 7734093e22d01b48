# SPDX-License-Identifier: Apache-2.0
"""One component of the cluster: what to run, and how to tell that it is ready."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dev.cluster import layout
from dev.cluster.process import Process
from dev.errors import NotReady
from dev.progress import step, tail

Probe = Callable[[], bool]


@dataclass(frozen=True)
class Component:
    """A program with its arguments; `probe` answers at once whether it is ready."""

    name: str
    argv: tuple[str, ...]
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def start(self, cgroup: Path) -> None:
        """Start it unless it runs."""
        process(self.name).start(self.argv, cgroup=cgroup, extra_environment=self.environment)

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until it is ready; NotReady with the log's end when it dies or takes too long."""
        own = process(self.name)
        deadline = time.monotonic() + seconds
        with step(f"waiting for {self.name}"):
            while not self.probe():
                if own.pid() is None:
                    raise NotReady(f"{self.name} has ended; end of {own.log}:\n{tail(own.log)}")
                if time.monotonic() > deadline:
                    raise NotReady(
                        f"{self.name} is not ready after {seconds:.0f} s; "
                        f"end of {own.log}:\n{tail(own.log)}"
                    )
                time.sleep(0.1)


def process(name: str) -> Process:
    """The process of a component."""
    return Process(name, pids=layout.PIDS, logs=layout.LOGS)


def http_probe(port: int, path: str) -> Probe:
    """Ready when http://127.0.0.1:port/path answers 200."""
    return lambda: _ok(http.client.HTTPConnection("127.0.0.1", port, timeout=2), path)


def https_probe(host: str, port: int, path: str, *, authority: str, user: str = "") -> Probe:
    """Ready when the path answers 200 over TLS.

    An empty `authority` accepts any certificate; `user` is the path of a certificate and
    key without their suffixes.
    """

    def probe() -> bool:
        context = ssl.create_default_context(cafile=authority or None)
        if not authority:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if user:
            context.load_cert_chain(f"{user}.crt", f"{user}.key")
        return _ok(http.client.HTTPSConnection(host, port, timeout=2, context=context), path)

    return probe


def socket_probe(path: Path) -> Probe:
    """Ready when somebody accepts on a unix socket."""

    def probe() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
            except OSError:
                return False
        return True

    return probe


def _ok(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
