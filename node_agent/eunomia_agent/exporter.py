# SPDX-License-Identifier: Apache-2.0
"""/metrics, /healthz and /readyz of the agent, over plain HTTP."""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.metrics_core import Metric as Family

from eunomia_agent.jobs.standing import Standing
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.metrics.security import Security

OUTCOMES = ("delivered", "lost_kernel", "lost_agent", "limited", "sampled_out")


class Accounts:
    """The jobs' own accounts: what was matched, and what became of it."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.connected = False

    def collect(self) -> Iterable[Family]:
        """Return the counters, for prometheus_client."""
        matched = CounterMetricFamily(
            "eunomia_job_events_matched",
            "Events that the kernel's filter let through for a job.",
            labels=["tracejob", "tracker"],
        )
        settled = CounterMetricFamily(
            "eunomia_job_events",
            "What became of the events that matched; the outcomes add up to them.",
            labels=["tracejob", "tracker", "outcome"],
        )
        unclassified = CounterMetricFamily(
            "eunomia_job_events_unclassified",
            "Events of which it could not be told whether they were the job's.",
            labels=["tracejob", "tracker"],
        )
        standing = self.standing
        for uid, job in standing.totals.items():
            name = standing.names[uid]
            for tracker, totals in job.trackers.items():
                matched.add_metric([name, tracker], totals.matched)
                unclassified.add_metric([name, tracker], totals.unclassified)
                for outcome in OUTCOMES:
                    settled.add_metric([name, tracker, outcome], getattr(totals, outcome))
        runs = CounterMetricFamily(
            "eunomia_run_tracker", "Trackers that were started.", labels=["tracker"]
        )
        for tracker, count in standing.starts.items():
            runs.add_metric([tracker], count)
        connected = GaugeMetricFamily(
            "eunomia_agent_connected", "1 while a stream with the operator is up.", self.connected
        )
        return matched, settled, unclassified, runs, connected


class Exporter:
    """Serves until closed; a scrape never waits for the data thread."""

    def __init__(
        self,
        port: int,
        accounts: Accounts,
        observed: Observed,
        healthy: Callable[[], bool],
        security: Security | None = None,
        *,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        """Begin to serve. ready: whether it does all that it shall; as `healthy` unless told."""
        registry = CollectorRegistry()
        for collector in (accounts, observed):
            registry.register(collector)
        if security is not None:
            registry.register(security)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        metrics = make_wsgi_app(registry)

        def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                page: Iterable[bytes] = metrics(environ, start_response)
                return page
            if path == "/healthz":
                status, body = ("200 OK", b"ok\n") if healthy() else ("503 Unhealthy", b"stuck\n")
            elif path == "/readyz":
                is_ready = (ready or healthy)()
                status, body = ("200 OK", b"ok\n") if is_ready else ("503 Not Ready", b"waits\n")
            else:
                status, body = "404 Not Found", b"there are /metrics, /healthz and /readyz\n"
            start_response(status, [("Content-Type", "text/plain")])
            return [body]

        self._server = make_server("", port, serve, ThreadingWSGIServer, _QuietHandler)
        self.port = self._server.server_port
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="metrics")
        self._thread.start()

    def _serve(self) -> None:
        # serve_forever() would wake twice a second.
        while not self._closing:
            self._server.handle_request()

    def close(self) -> None:
        """Stop serving."""
        self._closing = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()  # wakes it
        self._thread.join()
        self._server.server_close()


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes are not worth a line each."""
