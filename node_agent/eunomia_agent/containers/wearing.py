# SPDX-License-Identifier: Apache-2.0
"""What the containers of this node wear and may do, by the word of their runtime.

Nothing that a pod says of itself counts: whoever makes pods writes their labels.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.runtime import Runtime
from eunomia_agent.errors import RuntimeUnavailable

logger = logging.getLogger("eunomia.wearing")

AT_ONCE = 64
"""Containers that are asked about before the answers are handed on."""
DELAYS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds until a container of which nothing was told is asked about again; the last one again and
again."""

Worn = Mapping[str, Confinement]
"""By container id."""


@dataclass(frozen=True, slots=True)
class Wearers:
    """Pods of a policy, by what their containers wear.

    bound: each container for which there is a profile wears it. bare: one of them wears none of
    ours. A pod that wears another policy's profile is neither, and so is one of whose containers
    none has a profile.
    """

    bound: int = 0
    bare: int = 0


def wearers(profiles: Mapping[str, str], owners: Iterable[Owner], worn: Worn) -> Wearers | None:
    """Return what the pods of a policy wear; None while that is not known of all of them.

    profiles: the paths by the names of the containers that they are for. owners: of the policy's
    cgroups.
    """
    pods: dict[str, set[str]] = {}
    for owner in owners:
        path = profiles.get(owner.container)
        if path is None or owner.kind != "container" or not owner.pod_uid:
            continue
        found = worn.get(owner.container_id)
        if found is None:
            return None
        wears = found.profile
        what = "bare" if not wears else "bound" if wears == path else "other"
        pods.setdefault(owner.pod_uid, set()).add(what)
    return Wearers(
        bound=sum(found == {"bound"} for found in pods.values()),
        bare=sum("bare" in found for found in pods.values()),
    )


class Wearing:
    """Asks the runtime about containers, each until it has told. On the loop."""

    def __init__(self, runtime: Runtime | None, told: Callable[[Worn], None]) -> None:
        """told: is called with what the runtime told of some of those that were asked for."""
        self._runtime = runtime
        self._told = told
        self._asked: dict[str, tuple[int, float]] = {}
        """Containers of which nothing was told: how often they were asked about, and when next."""
        self._task: asyncio.Task[None] | None = None

    def ask(self, containers: Collection[str]) -> None:
        """Ask about containers, by their ids. To be called again and again with what is open."""
        if self._task is not None and not self._task.done():
            return
        self._asked = {each: self._asked[each] for each in containers if each in self._asked}
        now = time.monotonic()
        due = [each for each in containers if self._asked.get(each, (0, 0.0))[1] <= now]
        if due and self._runtime is not None:
            self._task = asyncio.create_task(self._ask(self._runtime, due[:AT_ONCE]))

    async def _ask(self, runtime: Runtime, containers: Iterable[str]) -> None:
        told: dict[str, Confinement] = {}
        for container in containers:
            found = await self._confinement(runtime, container)
            if found is None:
                times, _ = self._asked.get(container, (0, 0.0))
                delay = DELAYS[min(times, len(DELAYS) - 1)]
                self._asked[container] = times + 1, time.monotonic() + delay
            else:
                told[container] = found
        if told:
            self._told(told)

    async def _confinement(self, runtime: Runtime, container: str) -> Confinement | None:
        try:
            return await runtime.confinement(container)
        except RuntimeUnavailable as error:
            logger.debug("it is not known what %s wears: %s", container, error)
        except Exception:
            logger.exception("the answer for %s was not understood", container)
        return None

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
