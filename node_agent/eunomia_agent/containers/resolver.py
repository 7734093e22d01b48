# SPDX-License-Identifier: Apache-2.0
"""Asks the runtime who containers are, again and again until it knows or patience ends.

containerd knows a container before it makes its cgroup, but a sandbox only after, and CRI-O
both only after: so a first answer of "not here" means "not yet".
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from eunomia_agent.containers.runtime import Identity, Runtime
from eunomia_agent.errors import RuntimeUnavailable, RuntimeUnreadable, RuntimeUnsupported

logger = logging.getLogger("eunomia.containers")

Answered = Callable[[int, Identity | None, str], None]
"""Called with the cgroup's id, and its identity or the reason why there is none."""

DELAYS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between one question and the next; the last one again and again."""
OUTAGE = 120.0
"""Seconds for which a runtime may not answer at all, as while it restarts, before giving up."""
AT_ONCE = 8
"""Questions under way at a time."""


@dataclass(slots=True)
class _Question:
    cgroup_id: int
    container_ids: Sequence[str]
    patience: float
    asked: int = 0
    waited: float = 0.0
    unanswered: float = 0.0


class Resolver:
    """Finds the identity of cgroups. All on one loop.

    runtime: whom to ask. answered: is told of each question's end, once. patience: seconds of
    "not here" after which the answer is that nobody knows.
    """

    def __init__(self, runtime: Runtime, answered: Answered, *, patience: float) -> None:
        self._runtime = runtime
        self._answered = answered
        self._patience = patience
        self._due: list[tuple[float, int, _Question]] = []
        self._order = itertools.count()
        self._more = asyncio.Event()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tasks = set[asyncio.Task[None]]()
        self.problem: str | None = None
        """Why the runtime cannot be asked at present."""

    def start(self) -> None:
        """Begin to ask."""
        self._begin(self._ask_those_due())

    async def close(self) -> None:
        """Stop asking; open questions stay without an answer."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ask(self, cgroup_id: int, container_ids: Sequence[str], *, once: bool = False) -> None:
        """Ask for a cgroup, soon. container_ids: of the containers around it, outermost first.

        The outermost one that the runtime knows has the cgroup: what a container makes inside
        itself, and by whatever name, is its own. once: ask a single time.
        """
        self._put(_Question(cgroup_id, container_ids, 0.0 if once else self._patience), 0.0)

    def _put(self, question: _Question, delay: float) -> None:
        due = asyncio.get_running_loop().time() + delay
        heapq.heappush(self._due, (due, next(self._order), question))
        self._more.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_those_due(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._more.clear()
            wait = self._due[0][0] - loop.time() if self._due else None
            if wait is None or wait > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._more.wait()
                continue
            await self._free.acquire()
            self._begin(self._attempt(heapq.heappop(self._due)[2]))

    async def _attempt(self, question: _Question) -> None:
        try:
            identity = await self._identity(question.container_ids)
        except (RuntimeUnreadable, RuntimeUnsupported) as error:
            self._unanswered(question, error, give_up=True)
        except RuntimeUnavailable as error:
            self._unanswered(question, error, give_up=question.unanswered >= OUTAGE)
        except Exception as error:  # whatever one container's answer brings, others are asked for
            logger.exception("the answer for %s was not understood", question.container_ids)
            reason = f"the container runtime's answer was not understood: {error!r:.300}"
            self._answered(question.cgroup_id, None, reason)
        else:
            self.problem = None
            self._told(question, identity)
        finally:
            self._free.release()

    async def _identity(self, container_ids: Sequence[str]) -> Identity | None:
        for container_id in container_ids:
            identity = await self._runtime.identity(container_id)
            if identity:
                return identity
        return None

    def _told(self, question: _Question, identity: Identity | None) -> None:
        if identity:
            self._answered(question.cgroup_id, identity, "")
        elif question.waited >= question.patience:
            self._answered(question.cgroup_id, None, "the container runtime does not know it")
        else:
            question.waited += self._again(question)

    def _unanswered(self, question: _Question, error: RuntimeUnavailable, give_up: bool) -> None:
        self.problem = str(error)
        if give_up or question.patience == 0:
            self._answered(question.cgroup_id, None, self.problem)
        else:
            question.unanswered += self._again(question)

    def _again(self, question: _Question) -> float:
        delay = DELAYS[min(question.asked, len(DELAYS) - 1)]
        question.asked += 1
        self._put(question, delay)
        return delay
