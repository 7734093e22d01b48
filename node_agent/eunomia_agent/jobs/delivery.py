# SPDX-License-Identifier: Apache-2.0
"""The way of a row from a tracker's ring to the jobs that it is for."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eunomia_agent.containers.owner import Owner
from eunomia_agent.events.batch import Batch
from eunomia_agent.jobs.held import Held, Waiting, jobs_of
from eunomia_agent.jobs.job import Job
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
        kubernetes_api: str = "",
    ) -> None:
        """Prepare. owners, by cgroup id, and what running gives are looked up for each batch."""
        self._node = node
        self._kubernetes_api = kubernetes_api
        self._owners = owners
        self._running = running
        self._observed = observed
        self._held = Held()
        self._held_since: dict[int, float] = {}
        self._given_up: dict[Instance, set[int]] = defaultdict(set)
        """Cgroups of which it will never be known whose they are, since the tables were read."""

    def drain(self, instance: Instance) -> None:
        """Read what stands in an instance's ring, and bring each row to its jobs."""
        self._bring(instance, instance.drain())

    def take(self, instance: Instance) -> None:
        """End the interval of an instance's tables, and bring each row to its jobs."""
        self._bring(instance, instance.take())
        self._given_up.pop(instance, None)

    def take_cgroups(self, instance: Instance, cgroups: set[int]) -> None:
        """Bring the rows of cgroups that are gone to their jobs, while their owner is known."""
        self._bring(instance, instance.take_cgroups(cgroups))
        self._given_up.get(instance, set()).difference_update(cgroups)

    def _bring(self, instance: Instance, batches: Iterable[Batch]) -> None:
        for batch in batches:
            for owner, rows, masks in self._by_owner(batch):
                if owner.kind == "pending":
                    self._hold(instance, rows, owner.cgroup_id)
                else:
                    self._hand_out(instance, rows, owner, masks)
                    self._leave_open(instance, rows, owner, masks)

    def _leave_open(
        self, instance: Instance, rows: Batch, owner: Owner, masks: NDArray[np.uint64]
    ) -> None:
        """Count the rows of tables that were added up before a cgroup was given up."""
        if rows.layout.source == "events":
            return
        if owner.cgroup_id not in self._given_up.get(instance, ()):
            return
        by_slot = jobs_of(rows)
        for job in self._running():
            if job.shares(instance) and not int(masks[0]) & job.bit:
                job.ledgers[instance.tracker].unclassified += by_slot.get(job.slot, 0)

    def _by_owner(self, batch: Batch) -> Iterator[tuple[Owner, Batch, NDArray[np.uint64]]]:
        """Give the rows of each owner together, however many cgroups it has.

        With each row the jobs that its cgroup is of, as uint64 of shape (n,). What a rows' owner is
        for others is the same for all of its cgroups; pending ones are each their own.
        """
        ids, inverse = _distinct(batch.fixed["cgroup_id"])
        owners = [self._owners.get(number) or Owner(number, "pending") for number in ids]
        running = self._running()
        masks = np.array(
            [sum(job.bit for job in running if number in job.members) for number in ids], np.uint64
        )
        groups: dict[Owner, int] = {}
        numbers = np.array([groups.setdefault(_shown(o), len(groups)) for o in owners])
        if len(groups) == 1:
            yield owners[0], batch, masks[inverse]
            return
        of_row = numbers[inverse]
        order = np.argsort(of_row, kind="stable")
        ordered, inverse, of_row = batch.take(order), inverse[order], of_row[order]
        begins = np.searchsorted(of_row, np.arange(len(groups) + 1)).tolist()
        for begin, end in pairwise(begins):
            part = inverse[begin:end]
            yield owners[int(part[0])], ordered.take(slice(begin, end)), masks[part]

    def _hold(self, instance: Instance, rows: Batch, cgroup_id: int) -> None:
        self._held.put(cgroup_id, instance, rows)
        self._held_since.setdefault(cgroup_id, time.monotonic())

    def _hand_out(
        self, instance: Instance, rows: Batch, owner: Owner, masks: NDArray[np.uint64]
    ) -> None:
        """Bring rows of one owner to the jobs that they are for.

        A row carries the jobs that the kernel took it to be for, which are more than it is for
        when its cgroup was pending then, or a slot has changed hands since. masks: for each row, as
        bits, the jobs whose its cgroup is.
        """
        sharers = [job for job in self._running() if job.shares(instance)]
        bits = rows.fixed["jobs"] & masks & np.uint64(sum(job.bit for job in sharers))
        source = rows.layout.source
        shown = Rows(
            rows,
            owner,
            instance.tracker,
            node=self._node,
            source=source,
            interval=None if source == "events" else instance.interval,
            kubernetes_api=self._kubernetes_api,
        )
        for job in sharers:
            its = (bits & np.uint64(job.bit)).astype(np.bool_)
            if its.any():
                self._observe(job, job.deliver(shown if its.all() else shown.take(its)))

    def _observe(self, job: Job, rows: Rows) -> None:
        """Count rows for the tracker's metrics. They are delivered, whatever becomes of that.

        Those of a policy are what its rules look at, and no measure of what goes on.
        """
        try:
            if len(rows) and not job.is_policy:
                self._observed.count(
                    job.wanted, rows.tracker, rows.batch, rows.owner, rows.interval
                )
        except Exception:
            owner = rows.owner.cgroup_id
            logger.exception("%s: rows of cgroup %d are in no metric", job.name, owner)

    def release(self, owner: Owner, mask: int) -> None:
        """Let go of a cgroup's rows: it is known now whose they are. mask: the jobs' bits."""
        if owner.cgroup_id not in self._held_since:
            return
        waiting = self._let_go(owner.cgroup_id)
        for instance, rows in waiting.rows:
            self._hand_out(instance, rows, owner, np.full(len(rows), mask, np.uint64))
        added_up = waiting.added_up()
        for job in self._running():
            for name, run in job.runs.items():
                ledger, key = job.ledgers[name], (run.instance, job.slot)
                if mask & job.bit:
                    ledger.lost += waiting.dropped[key]
                    ledger.counted += waiting.counted[key]
                elif owner.kind == "unknown":
                    ledger.unclassified += added_up[key]

    def never_told(self, cgroup_id: int) -> None:
        """Take note that it will not be known whose a cgroup is that was waited for.

        What tables have of it may have been any job's, until they are read for the next time.
        """
        for job in self._running():
            for run in job.runs.values():
                if run.instance.due is not None:
                    self._given_up[run.instance].add(cgroup_id)

    def forget(self, cgroup_id: int) -> None:
        """Drop what a cgroup has waiting; the kernel's account of it is closed already.

        No account holds what comes from tables: it may have been each job's that it is for.
        """
        added_up = self._let_go(cgroup_id).added_up()
        for job in self._running():
            for name, run in job.runs.items():
                job.ledgers[name].unclassified += added_up[run.instance, job.slot]

    def leave(self, job: Job) -> None:
        """Take a job that ends out of all that waits: its slot will be another's."""
        added_up = self._held.take_job(job.slot)
        for name, run in job.runs.items():
            job.ledgers[name].unclassified += added_up[run.instance]

    def _let_go(self, cgroup_id: int) -> Waiting:
        self._held_since.pop(cgroup_id, None)
        return self._held.take(cgroup_id)

    def wait_for(self, cgroups: Iterable[int]) -> None:
        """Take note of cgroups that have an account and no owner, though maybe no row."""
        for cgroup in cgroups:
            self._held_since.setdefault(cgroup, time.monotonic())

    def unheard(self) -> list[int]:
        """Return the cgroups that are waited for, and of which nothing was heard for long."""
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


def _distinct(numbers: NDArray[np.uint64]) -> tuple[list[int], NDArray[np.intp]]:
    """Return the numbers that occur, and for each of all which of them it is."""
    if (numbers == numbers[0]).all():
        return [int(numbers[0])], np.zeros(len(numbers), np.intp)
    ids, inverse = np.unique(numbers, return_inverse=True)
    return ids.tolist(), inverse.reshape(-1)


def _shown(owner: Owner) -> Owner:
    """Return what rows tell of an owner: the same for all cgroups of a container."""
    return replace(owner, cgroup_id=0, path="") if owner.kind == "container" else owner
