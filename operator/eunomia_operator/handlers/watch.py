# SPDX-License-Identifier: Apache-2.0
"""The handlers: one for each kind, and the log in."""

from collections.abc import Callable
from typing import Any

import kopf

from eunomia_api import GROUP, VERSION
from eunomia_operator.world import Body, Kind

See = Callable[[Kind, str | None, Body], None]
"""Takes the kind, the type of the event (None in a list) and the object."""


def make_registry(see: See, *, with_kubeconfig: bool) -> kopf.OperatorRegistry:
    """Return handlers that hand every event to `see`."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        if with_kubeconfig:
            return kopf.login_with_kubeconfig(**kwargs)
        return kopf.login_with_service_account(**kwargs)

    @kopf.on.event(GROUP, VERSION, Kind.TRACE_JOBS.value, registry=registry)
    async def trace_job(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
        see(Kind.TRACE_JOBS, type, body)

    @kopf.on.event(GROUP, VERSION, Kind.CLUSTER_TRACE_JOBS.value, registry=registry)
    async def cluster_trace_job(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
        see(Kind.CLUSTER_TRACE_JOBS, type, body)

    @kopf.on.event("", "v1", Kind.NODES.value, registry=registry)
    async def node(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
        see(Kind.NODES, type, body)

    @kopf.on.event("", "v1", Kind.NAMESPACES.value, registry=registry)
    async def namespace(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
        see(Kind.NAMESPACES, type, body)

    return registry
