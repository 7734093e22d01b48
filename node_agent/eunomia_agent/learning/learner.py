# SPDX-License-Identifier: Apache-2.0
"""What the containers of learning jobs call and may do, over all of their runs on this node.

The programs of seccomp.bpf.c record it; this brings it to jobs. All on one thread, the data thread:

    learner = Learner(OBJECTS, before)        # before: learner.saved() of an earlier agent, or {}
    learner.open(targets, hierarchy)          # the map and Hierarchy.number: Cgroups.node
    learner.apply({uid: Wanted(job.bit, job.wanted.learning), …})    # all that run and learn now
    learner.meet(owner, [uid, …])             # each owner, with the learning jobs that it is of
    learner.gone(cgroup_id, …)                # when cgroups are gone
    learner.tick()                            # about once a second
    learner.take_findings() -> list[(uid, Finding)]                  # what is to be told as alerts
    learner.report(uid) -> list[agent_pb2.Learned]                   # absolute; a name at a time
    learner.saved() -> dict                   # to JSON, on the disk, before it is reported
    learner.forget(uid)                       # the job is not wanted any more
    learner.close()                           # no job learns any more; what was learned stays

`open` comes after cgroups.bpf.c is attached, and `apply` before the job's bit is among Targets'
candidates, so that new cgroups of the job are recorded from their first instruction. A job that
stops running is left out of `apply`; what it learned stays until `forget`.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eunomia_agent.containers.owner import Owner
from eunomia_agent.containers.wearing import Worn
from eunomia_agent.finding import Finding
from eunomia_agent.kernel.map import Map
from eunomia_agent.learning import calls
from eunomia_agent.learning.audit import Audit
from eunomia_agent.learning.book import Book
from eunomia_agent.learning.recording import Recording
from eunomia_agent.learning.run import Run
from eunomia_agent.learning.seen import FILTERED, NOTHING, Bits, Seen
from eunomia_api import agent_pb2

logger = logging.getLogger("eunomia.learning")

NOTHING_WORN: Worn = MappingProxyType({})
PATIENCE_SECONDS = 60.0
"""A container whose cgroups are not heard of for so long has ended."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a running job learns. bit: the job's, in sets of jobs."""

    bit: int
    learning: agent_pb2.Learning


@dataclass(frozen=True, slots=True)
class _Member:
    """A cgroup that is recorded for jobs."""

    run_id: str
    uids: frozenset[str]
    owner: Owner


class Learner:
    """The books of all learning jobs of this node. clock: gives Unix time in seconds."""

    def __init__(
        self,
        objects: Path,
        before: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._recording: Recording | None = None
        self._wanted: dict[str, Wanted] = {}
        self._audits: dict[str, Audit] = {}
        self._worn: Worn = NOTHING_WORN
        self._findings: list[tuple[str, Finding]] = []
        self._members: dict[int, _Member] = {}
        self._runs: dict[str, Run] = {}
        """By container id, or CGROUP of a cgroup outside; those that go on. Books hold the same."""
        self._leaving: set[int] = set()
        """Cgroups that are no job's any more, and whose entries are still to be read."""
        self._parted: set[tuple[str, str]] = set()
        """Runs, and jobs which see no more of them: what they saw is still to be read."""
        self._allowed: dict[int, Bits] = {}
        self._books: dict[tuple[str, str], Book] = {}
        """By job uid and container name."""
        self._restore(before or {})

    @property
    def is_open(self) -> bool:
        """Whether the programs are in the kernel."""
        return self._recording is not None

    @property
    def problem(self) -> str | None:
        """What went unseen, or None."""
        return self._recording.problem if self._recording is not None else None

    def open(
        self,
        targets: Map,
        hierarchy: int,
        *,
        pids: Iterable[int] | None = None,
        by_command: bool = False,
    ) -> None:
        """Load and attach the programs: see Recording.open. Raises KernelError."""
        self._recording = Recording.open(
            self._objects, targets, hierarchy, pids=pids, by_command=by_command
        )

    def close(self) -> None:
        """Take the programs out of the kernel; what was learned stays."""
        if self._recording is None:
            return
        self.tick()
        for run in self._runs.values():
            run.keep_all()
        self._recording.close()
        self._recording = None
        self._wanted.clear()
        self._members.clear()
        self._leaving.clear()
        self._parted.clear()
        self._allowed.clear()

    def apply(self, wanted: Mapping[str, Wanted]) -> None:
        """Say which jobs run and learn now. Only while open."""
        assert self._recording is not None
        self._wanted = dict(wanted)
        self._audits = {uid: Audit(each.learning) for uid, each in wanted.items()}
        self._recording.set_jobs(sum(each.bit for each in wanted.values()))
        if any(each.learning.audited for each in wanted.values()):
            self._recording.see_refusals()
        for cgroup_id, member in list(self._members.items()):
            its = member.uids & wanted.keys()
            self._part(cgroup_id, its)
            if its:
                self._audit(cgroup_id, self._members[cgroup_id])
        self._leave()
        self._recording.settle()

    def meet(self, owner: Owner, uids: Collection[str]) -> None:
        """Take in a cgroup's owner: first seen, or changed. uids: learning jobs that it is of."""
        cgroup_id = owner.cgroup_id
        if self._recording is None or owner.kind == "pending":
            return
        its = frozenset(uids) & self._wanted.keys()
        self._part(cgroup_id, its)
        if not its:
            self._leaving.add(cgroup_id)
            return
        run_id = owner.container_id or f"cgroup {cgroup_id}"
        if cgroup_id in self._leaving or any((run_id, uid) in self._parted for uid in its):
            self._leave()
        starts = run_id not in self._runs
        run = self._runs.setdefault(run_id, Run())
        run.pod = owner.pod_uid or run_id
        self._members[cgroup_id] = _Member(run_id, its, owner)
        if starts and owner.container_id:
            run.to_be_bound = {uid for uid in its if self._audits[uid].binds}
        run.enter(cgroup_id)
        for uid in its:
            book = self._books.setdefault((uid, owner.container), Book(self._now_ms()))
            book.meet(run_id, run, pod=owner.pod, namespace=owner.namespace, image=owner.image)
        self._audit(cgroup_id, self._members[cgroup_id])
        self._recording.begin(cgroup_id)

    def gone(self, *cgroup_ids: int) -> None:
        """Take note that cgroups are gone. With the last one of a container, its run ends."""
        its = {each: self._members[each].run_id for each in cgroup_ids if each in self._members}
        self._leaving.update(its)
        self._leave()
        for run_id in {*its.values()}:
            if not self._runs[run_id].cgroups:
                self._end(run_id)

    def _part(self, cgroup_id: int, its: frozenset[str]) -> None:
        """Take note of the jobs that a cgroup is not of any more: `its` are those that stay."""
        member = self._members.get(cgroup_id)
        if member is None or member.uids <= its:
            return
        self._parted |= {(member.run_id, uid) for uid in member.uids - its}
        if member.uids & its:
            self._members[cgroup_id] = replace(member, uids=member.uids & its)
        else:
            self._leaving.add(cgroup_id)

    def _leave(self) -> None:
        """Keep what the cgroups that leave did, and record no more of them."""
        if self._recording is None or not (self._leaving or self._parted):
            return
        if self._parted or not self._leaving.isdisjoint(self._members):
            self._see(self._recording.read(), self._leaving)
        leaving, self._leaving = self._leaving, set()
        for cgroup_id in leaving & self._members.keys():
            self._allowed.pop(cgroup_id, None)
            self._runs[self._members.pop(cgroup_id).run_id].keep(cgroup_id)
        self._recording.forget(leaving)
        stay = {(each.run_id, uid) for each in self._members.values() for uid in each.uids}
        parted, self._parted = self._parted - stay, set()
        for (uid, _), book in self._books.items():
            for run_id in [run_id for run_id, whose in parted if whose == uid]:
                book.freeze(run_id, self._now_ms())

    def _see(self, seen: Mapping[int, Seen], last: Collection[int] = ()) -> None:
        """Take in what was recorded. last: cgroups of which it is the last time."""
        for cgroup_id, each in seen.items():
            member = self._members.get(cgroup_id)
            if member is None:
                continue
            self._runs[member.run_id].see(cgroup_id, each)
            for uid in member.uids & self._audits.keys():
                self._audit_one(uid, member.owner, each, last=cgroup_id in last)

    def _audit_one(self, uid: str, owner: Owner, seen: Seen, *, last: bool) -> None:
        """Find out what is to be told of a cgroup.

        Of whom the runtime has not said what it wears, nothing is told yet, or at last what was
        seen. How a container started is told of those alone whose start was seen.
        """
        run, audit = self._runs[self._members[owner.cgroup_id].run_id], self._audits[uid]
        worn = self._worn.get(owner.container_id)
        wears = last if worn is None else audit.wears(owner, worn)
        self._find(run, uid, audit.of_deeds(owner, seen, run.told.get(uid, ()), wears=wears))
        if worn is not None and uid in run.to_be_bound and run.did().whole:
            self._find(run, uid, audit.of_start(owner, worn, run.told.get(uid, ())))

    def _find(self, run: Run, uid: str, findings: Iterable[Finding]) -> None:
        for each in list(findings):
            run.told.setdefault(uid, set()).add(f"{each.rule} {each.key}")
            self._findings.append((uid, each))

    def take_findings(self) -> list[tuple[str, Finding]]:
        """Return what was found since the last time, each with the job whose it is."""
        found, self._findings = self._findings, []
        return found

    def _end(self, run_id: str) -> None:
        self._runs.pop(run_id, None)
        for book in self._books.values():
            book.end(run_id, self._now_ms())

    def tick(self, worn: Worn = NOTHING_WORN) -> None:
        """Read what the kernel recorded. worn: as far as that is known."""
        if self._recording is None:
            return
        self._worn = worn
        for run_id in self._runs.keys() & worn.keys():
            self._runs[run_id].confinement = worn[run_id]
        self._leave()
        seen = self._recording.read()
        self._see(seen)
        if any(each.filtered != NOTHING or each.modes & FILTERED for each in seen.values()):
            self._recording.see_refusals()
        self._recording.forget(self._recording.untargeted(seen.keys() - self._members.keys()))
        self._recording.settle()
        for book in self._books.values():
            book.look(self._now_ms())
        self._end_unheard()

    def _end_unheard(self) -> None:
        """End the runs that went on as an agent, or a job, ended, and are not there any more."""
        now = time.monotonic()
        for run_id, run in list(self._runs.items()):
            if run.idle_since is not None and now - run.idle_since > PATIENCE_SECONDS:
                self._end(run_id)

    def report(self, uid: str) -> list[agent_pb2.Learned]:
        """Return what the containers of a job did, in the order of their names."""
        return [self._books[key].learned(key[1]) for key in sorted(self._books) if key[0] == uid]

    def forget(self, uid: str) -> None:
        """Forget what a job has learned."""
        for key in [key for key in self._books if key[0] == uid]:
            del self._books[key]
        for run in self._runs.values():
            run.told.pop(uid, None)
            run.to_be_bound.discard(uid)

    def saved(self) -> dict[str, Any]:
        """Return all that was learned, as JSON has it."""
        books = [
            {"job": uid, "container": container, **book.saved()}
            for (uid, container), book in self._books.items()
        ]
        return {
            "books": books,
            "runs": {run_id: run.saved() for run_id, run in self._runs.items()},
        }

    def _restore(self, before: Mapping[str, Any]) -> None:
        """Go on from what was saved. What cannot be read is left out, and said so."""
        try:
            self._runs = {
                run_id: Run.restored(saved) for run_id, saved in before.get("runs", {}).items()
            }
            for saved in before.get("books", ()):
                key = str(saved["job"]), str(saved["container"])
                self._books[key] = Book.restored(saved, self._runs)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            logger.warning("what was learned before cannot be read, and begins anew: %r", error)
            self._runs, self._books = {}, {}

    def _audit(self, cgroup_id: int, member: _Member) -> None:
        """Tell the kernel what the profiles that are audited allow to a cgroup, all of them."""
        assert self._recording is not None
        allowed = self._allowed_to(member)
        if allowed == self._allowed.get(cgroup_id):
            return
        if allowed is None:
            del self._allowed[cgroup_id]
        else:
            self._allowed[cgroup_id] = allowed
        self._recording.audit(cgroup_id, allowed)

    def _allowed_to(self, member: _Member) -> Bits | None:
        names = [
            frozenset(each.syscalls)
            for uid, container in self._named(member)
            for each in self._wanted[uid].learning.audited
            if each.container in ("", container)
        ]
        if not names:
            return None
        common = frozenset.intersection(*names)
        return Bits(calls.bits_of(common, calls.OWN), calls.bits_of(common, calls.COMPAT))

    def _named(self, member: _Member) -> Iterable[tuple[str, str]]:
        for (uid, container), book in self._books.items():
            if uid in member.uids and uid in self._wanted and member.run_id in book.runs:
                yield uid, container

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
