# SPDX-License-Identifier: Apache-2.0
"""The handlers: one for each kind, and the log in."""

from collections.abc import Callable, Coroutine
from typing import Any

import kopf

from eunomia_api import GROUP, VERSION
from eunomia_operator.objects.world import KINDS, Body, Kind

See = Callable[[Kind, str | None, Body], None]
"""Takes the kind, the type of the event (None in a list) and the object."""
Handler = Callable[..., Coroutine[None, None, None]]


def make_registry(see: See, *, with_kubeconfig: bool) -> kopf.OperatorRegistry:
    """Return handlers that hand every event to `see`."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        if with_kubeconfig:
            return kopf.login_with_kubeconfig(**kwargs)
        return kopf.login_with_service_account(**kwargs)

    for kind in Kind:
        group, version = (GROUP, VERSION) if kind in KINDS else ("", "v1")
        kopf.on.event(group, version, kind.value, registry=registry)(_handler(kind, see))
    return registry


def _handler(kind: Kind, see: See) -> Handler:
    async def handle(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
        see(kind, type, body)

    handle.__name__ = f"see_{kind.name.lower()}"
    return handle
