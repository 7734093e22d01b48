# SPDX-License-Identifier: Apache-2.0
"""All jobs of the node: brings what runs in line with what is wanted, and rows to their jobs.

Everything here runs on one thread, the data thread, in the order in which it was asked for.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.departed import Departed
from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.targets import Targets
from eunomia_agent.containers.wearing import Worn
from eunomia_agent.errors import AgentError, TrackerError, TrackerUnsupported
from eunomia_agent.jobs import enforcing
from eunomia_agent.jobs.admission import admit, may_run, trackers_of
from eunomia_agent.jobs.delivery import Delivery
from eunomia_agent.jobs.job import Job, Run, Trouble
from eunomia_agent.jobs.keys import UseOf
from eunomia_agent.jobs.lessons import Lessons
from eunomia_agent.jobs.shedding import Shedding
from eunomia_agent.jobs.standing import Standing, standing_of
from eunomia_agent.kernel.rcu import wait_for_programs
from eunomia_agent.metrics.observed import Observed
from eunomia_agent.sinks.sink import Sink
from eunomia_agent.slots import Slots
from eunomia_agent.state import JobTotals
from eunomia_agent.trackers.accounting import Account, Ledger
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.ladder import Ladder, Rung
from eunomia_agent.trackers.limit import NEVER, Limit, share
from eunomia_agent.trackers.pool import Pool
from eunomia_agent.wanted import target_of
from eunomia_api import agent_pb2

logger = logging.getLogger("eunomia.tracing")

DETACH_SECONDS = 5.0
MAX_TROUBLE = 256
"""Characters of a reason that was not foreseen."""
STARTED_WITH = ("trackers", "budget", "outputs", "alert_outputs", "rules", "dry_run", "enforcement")
"""Parts of a job that do not change while it runs."""


class Tracing:
    """The jobs of a node, their running trackers, and the owners of its cgroups."""

    def __init__(
        self,
        pool: Pool,
        *,
        node: str,
        use_of: UseOf,
        open_sinks: Callable[[agent_pb2.Job], Sequence[Sink]],
        observed: Observed,
        lessons: Lessons | None = None,
        on_forget: Callable[[agent_pb2.Job], None] = lambda _: None,
        kubernetes_api: str = "",
    ) -> None:
        """Prepare, with nothing running.

        use_of checks a tracker's name and params and fills in defaults; raises TrackerError.
        lessons: for jobs that learn; None: nothing is learned. on_forget: told of jobs that are
        wanted no more. kubernetes_api: as conditions may name it.
        """
        self._pool = pool
        self._watched: Targets | None = None
        self._why_shut = ""
        self._use_of = use_of
        self._open_sinks = open_sinks
        self._observed = observed
        self._lessons = lessons or Lessons()
        self._on_forget = on_forget
        self._slots = Slots()
        self._idle_since: dict[Instance, float] = {}
        self._gone: list[int] = []
        self._departed = Departed()
        self._silence = 0.0
        self.jobs: dict[str, Job] = {}
        self.owners: dict[int, Owner] = {}
        self._worn: dict[str, Confinement] = {}
        self._delivery = Delivery(node, self.owners, self._running, observed, kubernetes_api)
        self._shedding = Shedding(self._delivery.take)

    # The cgroups' maps, which are there while there is a job to run

    def open(self, targets: Targets) -> None:
        """Begin, with the agent-wide maps."""
        self._watched = targets

    def shut(self, why: str = "no job runs") -> None:
        """Let go of the agent-wide maps, and forget all owners. No job runs."""
        self._watched, self._why_shut = None, why
        for cgroup in self.owners:
            self._delivery.forget(cgroup)
        self.owners.clear()
        self._worn.clear()
        self._gone.clear()

    @property
    def _targets(self) -> Targets:
        assert self._watched is not None, "a job runs while the cgroups' maps are not there"
        return self._watched

    # What is wanted

    def apply(
        self, wanted: Iterable[agent_pb2.Job], before: dict[str, JobTotals], now: float
    ) -> None:
        """Make the jobs of this node be exactly those wanted. now: Unix time in seconds.

        A job that could not be started is tried again. before: totals that earlier runs of the
        agent came to; each is taken out once it is counted on.
        """
        fresh = {job.uid: job for job in wanted}
        over = [uid for uid in self.jobs if uid not in fresh]
        for uid in over:
            self._stop(self.jobs[uid])
        for uid in over:  # after all have told what was in flight: a policy's jobs share outputs
            self._forget(uid)
        new = fresh.keys() - self.jobs.keys()
        for uid, job in fresh.items():  # all, before the first starts: lessons go by who is wanted
            if uid in new:
                self.jobs[uid] = admit(job, before.pop(uid, JobTotals()))
        for uid, job in fresh.items():
            if self.jobs[uid].wanted != job:
                self._try_to_change(self.jobs[uid], job, now)
            if not self.jobs[uid].running and self._may_run(self.jobs[uid], now):
                self._start(self.jobs[uid])
        self.expire(now)
        if self._watched is not None:
            self._balance()

    def _forget(self, uid: str) -> None:
        self._observed.forget(uid)
        self._lessons.forget(uid)
        self._on_forget(self.jobs.pop(uid).wanted)

    def silent_for(self, seconds: float) -> None:
        """Take note of how long ago the operator's last word was: jobs enforce for so long only."""
        self._silence = seconds
        enforcing.allow(self._running(), seconds)

    def expire(self, now: float) -> None:
        """End the jobs whose deadline has passed. now: Unix time in seconds."""
        for job in self.jobs.values():
            if job.deadline is not None and job.deadline <= now:
                self._stop(job)
                job.finished = True

    def _may_run(self, job: Job, now: float) -> bool:
        return may_run(job.wanted, now) and not job.finished

    def _try_to_change(self, job: Job, wanted: agent_pb2.Job, now: float) -> None:
        try:
            self._change(job, wanted, now)
        except Exception as error:
            logger.error(
                "%s cannot be changed, and begins anew: %s",
                *(job.name, error),
                exc_info=not isinstance(error, AgentError),
            )
            self._stop(job)
            job.gaps += 1

    def _change(self, job: Job, wanted: agent_pb2.Job, now: float) -> None:
        old, job.wanted, job.target = job.wanted, wanted, target_of(wanted.target)
        job.finished = job.finished and wanted.deadline_ms == old.deadline_ms
        restart = job.running and self._runs_otherwise(job, old)
        if restart and self._may_run(job, now):
            self._stop(job, restarting=True)
            job.gaps += 1
            self._start(job)
        elif job.running and not self._may_run(job, now):
            self._stop(job)
            job.gaps += restart
        elif job.running:
            self._lessons.attend(self.jobs.values())
            self._sweep()

    def _runs_otherwise(self, job: Job, old: agent_pb2.Job) -> bool:
        """Tell whether what runs, as it was started for `old`, is not what the job wants now."""
        wanted = job.wanted
        if any(getattr(old, part) != getattr(wanted, part) for part in STARTED_WITH):
            return True
        return any(
            self._use_of(wanted, each).key != job.runs[each.name].key for each in wanted.trackers
        )

    def _start(self, job: Job) -> None:
        job.trouble = None
        job.pods.clear()  # those of an earlier run may be gone since; the sweep finds what is there
        if self._watched is None:
            job.trouble = Trouble("CgroupsUnavailable", self._why_shut)
            return
        try:
            job.slot, job.running = self._slots.take() if job.slot < 0 else job.slot, True
            job.open(self._open_sinks(job.wanted))
            for tracker in trackers_of(job.wanted):
                self._run(job, tracker)
            enforcing.allow([job], self._silence)
            self._lessons.attend(self.jobs.values())
            self._sweep()
        except TrackerUnsupported as error:
            job.trouble = Trouble(error.reason, str(error), unsupported=True)
        except AgentError as error:
            reason = error.reason if isinstance(error, TrackerError) else "TrackerFailed"
            job.trouble = Trouble(reason, str(error))
        except Exception as error:  # what is asked of the agent is kept: it must not end by it
            logger.exception("%s cannot run", job.name)
            job.trouble = Trouble("TrackerFailed", f"{error!r}"[:MAX_TROUBLE])
        if job.trouble is not None:
            logger.error("%s cannot run: %s", job.name, job.trouble.message)
            self._stop(job)

    def _run(self, job: Job, tracker: agent_pb2.Tracker) -> None:
        use = self._use_of(job.wanted, tracker)
        instance = self._pool.acquire(use.key, job.slot)
        try:
            # Rows may still carry the slot's bit for a job that is over, and what is counted so far
            # is for those that share the instance already.
            self._delivery.drain(instance)
            self._delivery.take(instance)
            instance.accounts.clear(job.slot)
            refused = instance.accounts.unclassified()
        except Exception:
            self._pool.release(use.key, job.slot)
            raise
        ladder = Ladder(job.wanted.budget.events_per_second // len(job.wanted.trackers))
        enforced = instance.enforced(job.slot)  # of the job that had the slot before
        job.runs[tracker.name] = Run(
            *(use.key, instance, use.rest, tracker.sample, ladder, refused, enforced),
            whose=use.whose,
        )
        job.ledgers.setdefault(tracker.name, Ledger())
        if job.wanted.rules:
            instance.hurry()

    def _stop(self, job: Job, *, restarting: bool = False) -> None:
        """End a job's trackers with its account at rest: nothing of it is left in flight.

        restarting: it starts again at once, and its containers' runs, which are learned, go on.
        """
        if not job.running:
            return
        for run in job.runs.values():
            self._delivery.take(run.instance)
            run.instance.leave(job.slot)
        if not restarting:
            self._retarget(job.slot)
        wait_for_programs()  # those that had read the job's bit come to their end
        self._settle()
        self._delivery.leave(job)
        for name, run in job.runs.items():
            for cgroup, account in run.instance.accounts.all().get(job.slot, {}).items():
                self._close_account(job, name, cgroup, account)
            job.ledgers[name].rest()
            run.instance.accounts.clear(job.slot)
            self._pool.release(run.key, job.slot)
            self._idle_since.pop(run.instance, None)
        self._lessons.tick(self._worn)
        self._tell_findings()
        job.close()
        job.running, job.runs = False, {}
        job.forget_all()
        if not restarting:
            self._slots.give_back(job.slot)
            job.slot = -1
            self._lessons.attend(self.jobs.values())

    # Whose cgroups these are

    def meet(self, owner: Owner) -> None:
        """Take in a cgroup's owner: first seen, or changed."""
        if self._watched is None:
            return
        before = self.owners.get(owner.cgroup_id)
        self.owners[owner.cgroup_id] = owner
        self._classify(owner)
        if owner.kind == "unknown" and (before is None or before.kind == "pending"):
            self._delivery.never_told(owner.cgroup_id)
        self._share()
        self._balance()

    def gone(self, cgroup_id: int) -> None:
        """Take note that a cgroup is gone; it is forgotten once its events have been read."""
        if self._watched is None:
            return
        self._gone.append(cgroup_id)

    def wear(self, told: Worn) -> None:
        """Take in what containers wear: see wearing."""
        self._worn.update(told)

    def _forget_gone(self) -> None:
        gone, self._gone = set(self._gone), []
        if not gone:
            return
        for instance in self._pool:  # nothing runs there any more: this is all that there is
            self._delivery.drain(instance)
            self._delivery.take_cgroups(instance, gone)
        for cgroup in gone:
            self._departed.add(cgroup)
            self._targets.delete(cgroup)
            for job in self._running():
                self._close_accounts(job, cgroup)
                job.forget(cgroup)
            self._delivery.forget(cgroup)
            self.owners.pop(cgroup, None)
        here = {each.container_id for each in self.owners.values()}
        self._worn = {each: found for each, found in self._worn.items() if each in here}
        self._lessons.gone(gone)

    def _close_account(self, job: Job, tracker: str, cgroup_id: int, account: Account) -> None:
        owner = self.owners.get(cgroup_id)
        if cgroup_id in job.members:
            job.ledgers[tracker].fold(cgroup_id, account)
        elif owner is None or owner.kind in ("pending", "unknown"):
            job.ledgers[tracker].unclassified += account.matched

    def _classify(self, owner: Owner) -> None:
        cgroup = owner.cgroup_id
        its = [job for job in self._running() if job.meet(owner)]
        if owner.kind == "pending":
            self._targets.pend(cgroup)
            return
        mask = sum(job.bit for job in its)
        self._lessons.meet(owner, its)
        self._set_jobs(owner, _listed(its))
        for job in self._running():
            if job not in its:
                self._leave(job, cgroup)
        self._delivery.release(owner, mask)

    def _leave(self, job: Job, cgroup_id: int) -> None:
        """End a job's part in a cgroup that is not, or no longer, the job's."""
        if cgroup_id in job.members:
            for run in job.runs.values():
                self._delivery.drain(run.instance)
                self._delivery.take(run.instance)
        self._close_accounts(job, cgroup_id)
        job.leave(cgroup_id)

    def _close_accounts(self, job: Job, cgroup_id: int) -> None:
        for name, run in job.runs.items():
            account = run.instance.accounts.one(job.slot, cgroup_id)
            if account is not None:
                self._close_account(job, name, cgroup_id, account)
                run.instance.accounts.remove(job.slot, cgroup_id)

    def _sweep(self) -> None:
        self._targets.set_candidates(_listed(self._running()))
        for owner in list(self.owners.values()):
            self._classify(owner)
        self._share()

    def _retarget(self, slot: int) -> None:
        """Take a job's bit out of every cgroup's set."""
        others = [job for job in self._running() if job.slot != slot]
        self._targets.set_candidates(_listed(others))
        for cgroup, owner in self.owners.items():
            if owner.kind != "pending":
                mask = _listed(job for job in others if cgroup in job.members)
                self._set_jobs(owner, mask)

    def _set_jobs(self, owner: Owner, jobs: int) -> None:
        is_container = owner.kind == "container"
        self._targets.set(owner.cgroup_id, jobs, inherit=is_container, lasting=owner.is_outermost)

    def _share(self) -> None:
        for job in self._running():
            for run in job.runs.values():
                buckets = max(job.containers, run.buckets)
                limit = share(job.wanted.budget.events_per_second, len(job.runs), buckets)
                if run.ladder.rung is Rung.STOPPED:
                    continue
                mute = run.ladder.rung is Rung.COUNTS
                each = Limit(NEVER) if mute else replace(limit, sample=run.sample)
                run.instance.join(job.slot, each, everywhere=job.target.everything)

    def _running(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.running]

    # Attached while somebody may match

    def _balance(self) -> None:
        wanted = {
            run.instance
            for job in self._running()
            if job.near or job.target.everything
            for run in job.runs.values()
            if run.ladder.rung is not Rung.STOPPED
        }
        for instance in self._pool:
            if instance in wanted:
                self._idle_since.pop(instance, None)
                self._attach(instance)
            elif instance.attached:
                self._idle_since.setdefault(instance, time.monotonic())

    def _attach(self, instance: Instance) -> None:
        if instance.attached or not instance.open:
            return
        try:
            instance.attach()
        except AgentError as error:
            for job in self._running():
                if job.shares(instance):
                    reason = getattr(error, "reason", "TrackerFailed")
                    job.trouble = Trouble(reason, str(error))
                    logger.error("%s cannot run: %s", job.name, error)
                    self._stop(job)

    def _detach_idle(self) -> None:
        now = time.monotonic()
        for instance, since in list(self._idle_since.items()):
            if now - since > DETACH_SECONDS:
                instance.detach()
                del self._idle_since[instance]

    # Accounts

    def drain(self, instance: Instance) -> None:
        """Read what stands in an instance's ring and bring each row to its jobs."""
        if instance.open:
            self._delivery.drain(instance)

    def _settle(self) -> None:
        """Bring every job's ledger up to date: the kernel's accounts first, then the rings."""
        read = {instance: instance.accounts.all() for instance in self._pool}
        for instance in self._pool:
            self._delivery.drain(instance)
        for job in self._running():
            for name, run in job.runs.items():
                accounts = read[run.instance].get(job.slot, {})
                its = {cgroup: accounts[cgroup] for cgroup in accounts if cgroup in job.members}
                job.ledgers[name].read(its)
                run.buckets = len(its)
                if job.target.everything:
                    self._delivery.wait_for(accounts.keys() - self.owners.keys())
                refused = run.instance.accounts.unclassified()
                job.ledgers[name].unclassified += refused - run.refused_before
                run.refused_before = refused
            enforcing.count(job)

    def _take_due(self) -> None:
        """End the intervals that are over."""
        for instance in self._pool:
            if instance.due is not None and instance.due <= time.monotonic():
                self._delivery.take(instance)

    def tick(self) -> Standing:
        """Do what time asks for; return where all stands, at rest as far as can be."""
        self._lessons.tick(self._worn)
        self._take_due()
        self._settle()
        self._share()
        if self._shedding.step(self._running()):
            self._share()
            self._balance()
        self._forget_gone()
        self._tell_findings()
        self._detach_idle()
        self._close_unheard()
        return self._standing()

    def _tell_findings(self) -> None:
        """Hand on what was found out without a row, to the judges of the jobs whose it is."""
        for uid, finding in self._lessons.take_findings():
            for judge in self.jobs[uid].judges() if uid in self.jobs else ():
                judge.find(finding)

    def _close_unheard(self) -> None:
        """End the wait for owners of which nothing was heard."""
        for cgroup in self._delivery.unheard():
            if not any(job.target.everything for job in self._running()):
                self._delivery.give_up(cgroup)
            elif cgroup in self._departed:
                self.meet(Owner(cgroup, "unknown", reason="the cgroup was removed before"))
                self.gone(cgroup)  # or it would be there for ever: nobody will tell of it again
            else:
                self.meet(Owner(cgroup, "unknown", reason="nothing was ever heard of it"))

    def _standing(self) -> Standing:
        known = self.owners if self._watched is not None else None
        return standing_of(self.jobs, self._pool, self._lessons, known, self._worn)

    def end(self) -> Standing:
        """Take everything out of the kernel; return where all stood, nothing in flight."""
        ran = [uid for uid, job in self.jobs.items() if job.running]
        for job in self.jobs.values():
            self._stop(job)
        self._pool.close()
        standing = self._standing()
        for uid in ran:  # the time until the next start is a gap
            standing.totals[uid] = replace(standing.totals[uid], running=True)
        return standing


def _listed(jobs: Iterable[Job]) -> int:
    """Return the bits of jobs that watch certain cgroups, and not every one of the node."""
    return sum(job.bit for job in jobs if not job.target.everything)
