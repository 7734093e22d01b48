# SPDX-License-Identifier: Apache-2.0
"""What containers of policies' jobs do, learned while any such job runs. On the data thread."""

import logging
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.wearing import Worn
from eunomia_agent.errors import AgentError
from eunomia_agent.finding import Finding
from eunomia_agent.jobs.job import Job
from eunomia_agent.trackers.loading import Node
from eunomia_api import agent_pb2

if TYPE_CHECKING:
    from eunomia_agent.learning.learner import Learner

logger = logging.getLogger("eunomia.lessons")

REPORT_SECONDS = 5.0
"""Between two looks at what was learned: it is much, and changes seldom."""


class Lessons:
    """The learner, with the jobs that it learns for. It is made for the first of them."""

    def __init__(
        self,
        make: "Callable[[], Learner] | None" = None,
        node: Callable[[], Node] | None = None,
    ) -> None:
        """Prepare. make: makes the learner. node: what programs share, while there is any job.

        Without these nothing is learned.
        """
        self._make = make
        self._node = node
        self._learner: Learner | None = None
        self._failure: str | None = None
        self._missed: str | None = None
        """What went wrong last while it was learned."""
        self._reported_at = time.monotonic()
        self._reports: dict[str, list[agent_pb2.Learned]] = {}
        self.saved: Mapping[str, Any] | None = None
        """All that was learned as of the last report, as JSON has it; None before there is any."""

    @property
    def problem(self) -> str | None:
        """Why nothing is learned, or what went unseen."""
        unseen = self._learner.problem if self._learner else None
        return self._failure or self._missed or unseen

    def attend(self, jobs: Collection[Job]) -> None:
        """Learn for those jobs, of all of the node's, that want it now.

        To be called before a job's bit is among the targets' candidates: what comes then is seen
        from its first instruction.
        """
        if any(job.learns for job in jobs):
            self._open({job.wanted.uid for job in jobs})
        elif self._learner is not None and self._learner.is_open:
            with self._guarded():
                self._learner.close()
            self._look(self._learner)
        if self._learner is not None and self._learner.is_open:
            from eunomia_agent.learning.learner import Wanted  # noqa: PLC0415  (few jobs learn)

            wanted = [job for job in jobs if job.learns]
            with self._guarded():
                self._learner.apply(
                    {job.wanted.uid: Wanted(job.bit, job.wanted.learning) for job in wanted}
                )

    def meet(self, owner: Owner, jobs: Collection[Job]) -> None:
        """Take in a cgroup's owner, and the jobs that it is of."""
        if self._learner is not None and self._learner.is_open:
            with self._guarded():
                self._learner.meet(owner, [job.wanted.uid for job in jobs if job.learns])

    def gone(self, cgroup_ids: Collection[int]) -> None:
        """Take note that cgroups are gone."""
        if self._learner is not None and self._learner.is_open:
            with self._guarded():
                self._learner.gone(*cgroup_ids)

    def forget(self, uid: str) -> None:
        """Forget what was learned for a job that is wanted no more."""
        if self._learner is not None:
            self._learner.forget(uid)
            self._reports.pop(uid, None)

    def tick(self, worn: Worn) -> None:
        """Read what the kernel recorded, and now and then what it comes to.

        worn: what containers wear, as far as that is known.
        """
        if self._learner is None or not self._learner.is_open:
            return
        with self._guarded():
            self._learner.tick(worn)
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._look(self._learner)

    def take_findings(self) -> list[tuple[str, Finding]]:
        """Return what was found out since the last time, each with the uid of its job."""
        return self._learner.take_findings() if self._learner is not None else []

    def report(self, uid: str) -> list[agent_pb2.Learned]:
        """Return what was learned for a job, as of a few seconds ago."""
        if self._learner is not None and uid not in self._reports:
            self._reports[uid] = self._learner.report(uid)
        return self._reports.get(uid, [])

    @contextmanager
    def _guarded(self) -> Generator[None]:
        """Keep what fails here from other work: the container's rows, kills, and other jobs."""
        try:
            yield
        except AgentError as error:
            if self._missed is None:
                logger.error("not all is learned: %s", error)
            self._missed = f"not all was learned: {error}"

    def _look(self, learner: "Learner") -> None:
        self._reported_at = time.monotonic()
        self._reports.clear()
        self.saved = learner.saved()

    def _open(self, uids: Collection[str]) -> None:
        if self._make is None or self._node is None:
            self._failure = "nothing is learned here"
            return
        if self._learner is None:
            self._learner = self._make()
            for uid in {book["job"] for book in self._learner.saved()["books"]} - {*uids}:
                self._learner.forget(uid)
        if self._learner.is_open:
            return
        try:
            node = self._node()
            self._learner.open(node.targets, node.hierarchy)
            self._failure = None
        except AgentError as error:
            logger.error("nothing can be learned: %s", error)
            self._failure = f"nothing is learned: {error}"
