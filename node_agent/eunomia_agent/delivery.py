# SPDX-License-Identifier: Apache-2.0
"""The way of a row from a tracker's ring to the jobs that it is for."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.held import Held, jobs_of
from eunomia_agent.job import Job
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.sinks.rows import Rows
from eunomia_agent.trackers.instance import Instance

logger = logging.getLogger("eunomia.delivery")

UNHEARD_SECONDS = 15.0


class Delivery:
    """Hands rows to the jobs of their cgroup, or holds them until it is known whose they are."""

    def __init__(
        self,
        node: str,
        owners: Mapping[int, Owner],
        running: Callable[[], Sequence[Job]],
        observed: Observed,
    ) -> None:
        """Prepare. owners, by cgroup id, and what running gives are looked up for each batch."""
        self._node = node
        self._owners = owners
        self._running = running
        self._observed = observed
        self._held = Held()
        self._held_since: dict[int, float] = {}

    def drain(self, instance: Instance) -> None:
        """Read what stands in an instance's ring, and bring each row to its jobs."""
        self._bring(instance, instance.drain())

    def take(self, instance: Instance) -> None:
        """End the interval of an instance's tables, and bring each row to its jobs."""
        self._bring(instance, instance.take())

    def take_cgroups(self, instance: Instance, cgroups: set[int]) -> None:
        """Bring the rows of cgroups that are gone to their jobs, while their owner is known."""
        self._bring(instance, instance.take_cgroups(cgroups))

    def _bring(self, instance: Instance, batches: Iterable[Batch]) -> None:
        for rows in batches:
            for cgroup, part in rows.split("cgroup_id"):
                try:
                    self._sort_out(instance, part, cgroup)
                except Exception:
                    # Whatever these rows held, the others go on, and these are told as lost.
                    logger.exception("rows of cgroup %d could not be delivered", cgroup)
                    self._count_lost(instance, part)

    def _sort_out(self, instance: Instance, rows: Batch, cgroup_id: int) -> None:
        owner = self._owners.get(cgroup_id)
        if owner is None or owner.kind == "pending":
            self._held.put(cgroup_id, instance, rows)
            self._held_since.setdefault(cgroup_id, time.monotonic())
        else:
            members = [job for job in self._running() if cgroup_id in job.members]
            self._hand_out(instance, rows, owner, sum(job.bit for job in members))

    def _hand_out(self, instance: Instance, rows: Batch, owner: Owner, mask: int) -> None:
        """Bring rows of one cgroup to the jobs that they are for.

        A row carries the jobs that the kernel took it to be for, which are more than it is for
        when its cgroup was pending then, or a slot has changed hands since. mask says whose the
        cgroup is.
        """
        sharers = [job for job in self._running() if job.shares(instance)]
        bits = rows.fixed["jobs"] & np.uint64(mask & sum(job.bit for job in sharers))
        chosen = np.flatnonzero(bits)
        if not len(chosen):
            return
        rows, bits = (rows, bits) if len(chosen) == len(rows) else (rows.take(chosen), bits[chosen])
        source = rows.layout.source
        shown = Rows(
            rows,
            owner,
            instance.tracker,
            node=self._node,
            source=source,
            interval=None if source == "events" else instance.interval,
        )
        for job in sharers:
            index = np.flatnonzero(bits & np.uint64(job.bit))
            mine = _wanted(job, shown.take(index)) if len(index) else None
            if mine is not None and len(mine):
                delivered = mine.batch.take(slice(job.deliver(mine)))
                self._observed.count(job.wanted, instance.tracker, delivered, owner, mine.interval)

    def release(self, owner: Owner, mask: int) -> None:
        """Let go of a cgroup's rows: it is known now whose they are. mask: the jobs' bits."""
        if owner.cgroup_id not in self._held:
            return
        waiting = self._held.take(owner.cgroup_id)
        self._held_since.pop(owner.cgroup_id, None)
        for instance, rows in waiting.rows:
            if instance.open:
                self._hand_out(instance, rows, owner, mask)
        for job in self._running():
            for name, run in job.runs.items():
                if mask & job.bit:
                    job.ledgers[name].lost += waiting.dropped[run.instance, job.slot]
                    job.ledgers[name].counted += waiting.counted[run.instance, job.slot]

    def forget(self, cgroup_id: int) -> None:
        """Drop what a cgroup has waiting; the kernel's account of it is closed already."""
        self._held.take(cgroup_id)
        self._held_since.pop(cgroup_id, None)

    def unheard(self) -> list[int]:
        """Return the cgroups whose rows wait, and of which nothing was heard for long."""
        now = time.monotonic()
        return [
            cgroup
            for cgroup, since in self._held_since.items()
            if cgroup not in self._owners and now - since > UNHEARD_SECONDS
        ]

    def give_up(self, cgroup_id: int) -> None:
        """Let go of the rows of a cgroup of which nothing was ever heard."""
        self.forget(cgroup_id)
        for job in self._running():
            self._close_unheard(job, cgroup_id)

    def _close_unheard(self, job: Job, cgroup_id: int) -> None:
        for name, run in job.runs.items():
            account = run.instance.accounts.one(job.slot, cgroup_id)
            if account is not None:
                job.ledgers[name].unclassified += account.matched
                run.instance.accounts.remove(job.slot, cgroup_id)

    def _count_lost(self, instance: Instance, rows: Batch) -> None:
        by_slot = jobs_of(rows)
        for job in self._running():
            if job.shares(instance):
                ledger, lost = job.ledgers[instance.tracker], by_slot.get(job.slot, 0)
                ledger.lost += lost
                if rows.layout.source != "events":
                    ledger.counted += lost


def _wanted(job: Job, rows: Rows) -> Rows:
    """Return the rows that the job's condition lets pass; events that it does not are counted."""
    passing = job.wants(rows)
    if passing is None:
        return rows
    kept = rows.take(passing)
    if rows.source == "events":
        job.ledgers[rows.tracker].filtered += len(rows) - len(kept)
    return kept
