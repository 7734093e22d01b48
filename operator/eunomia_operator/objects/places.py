# SPDX-License-Identifier: Apache-2.0
"""In which list of their pod's spec containers are, which no runtime tells: one pod is read."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from eunomia_api.policystatus import PodField
from eunomia_operator.errors import ClusterError
from eunomia_operator.objects.world import Body

logger = logging.getLogger("eunomia.places")

RETRY_SECONDS = 30.0
MOST_TRIES = 3
"""Pods that are read for a container before the next pause."""

Pods = Mapping[str, Sequence[tuple[str, str]]]
"""By container: namespaces and names of pods that may have it."""


class PodReader(Protocol):
    """Where pods are read."""

    async def read_pod(self, namespace: str, name: str, /) -> Body:
        """Return one pod. Raises ClusterError."""
        ...


def place_in(pod: Mapping[str, Any], container: str) -> PodField | None:
    """Return the list that has a container of a name; None where none has."""
    spec: Mapping[str, Any] = pod.get("spec") or {}
    for field in PodField:
        if any(each.get("name") == container for each in spec.get(field) or ()):
            return field
    return None


class Places:
    """What is known of the containers of policies. One pod is read at a time."""

    def __init__(self, reader: PodReader) -> None:
        self.wake: Callable[[], None] = _nobody
        """Called when more is known."""
        self._reader = reader
        self._known: dict[str, dict[str, PodField]] = {}
        """By the uid of a policy and the name of its containers."""
        self._retry_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def known(self, policy: str) -> Mapping[str, PodField]:
        """Return the places that are known of a policy's containers."""
        return self._known.get(policy, {})

    def look(self, wanted: Mapping[str, Pods], now: float) -> None:
        """Begin to find out what is open. wanted: by the uid of each policy that there is."""
        for gone in self._known.keys() - wanted.keys():
            del self._known[gone]
        self._retry_at = {uid: at for uid, at in self._retry_at.items() if uid in wanted}
        if self._task is not None and not self._task.done():
            return
        due = {
            uid: pods
            for uid, pods in wanted.items()
            if pods.keys() - self.known(uid).keys() and now >= self._retry_at.get(uid, 0.0)
        }
        if due:
            self._retry_at |= dict.fromkeys(due, now + RETRY_SECONDS)
            self._task = asyncio.create_task(self._find(due))

    async def _find(self, wanted: Mapping[str, Pods]) -> None:
        for uid, containers in wanted.items():
            for container in containers.keys() - self.known(uid).keys():
                for namespace, name in containers[container][:MOST_TRIES]:
                    found = await self._read(namespace, name, container)
                    if found is not None:
                        self._known.setdefault(uid, {})[container] = found
                        self.wake()
                        break

    async def _read(self, namespace: str, name: str, container: str) -> PodField | None:
        try:
            return place_in(await self._reader.read_pod(namespace, name), container)
        except ClusterError as error:
            logger.debug("it is not known where container %s is: %s", container, error)
        except (AttributeError, TypeError):
            logger.exception("pod %s/%s was not understood", namespace, name)
        return None

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _nobody() -> None:
    """Wake nobody."""
